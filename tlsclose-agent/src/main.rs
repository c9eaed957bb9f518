mod finding;
fn main() {}
