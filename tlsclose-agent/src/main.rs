#![allow(dead_code)]
mod clock;
mod finding;
mod kernel;
mod tracker;
mod verdict;
fn main() {}
