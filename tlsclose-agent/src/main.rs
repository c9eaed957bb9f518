#![allow(dead_code)]

mod duration;
mod finding;
mod names;
mod place;
mod why;
fn main() {}
