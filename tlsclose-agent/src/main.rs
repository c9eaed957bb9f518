mod attribution;
mod finding;
fn main() {}
