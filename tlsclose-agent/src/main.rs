#![allow(dead_code)]

mod cli;
mod config;
mod duration;
mod explain;
mod finding;
mod names;
mod output;
mod place;
mod why;
fn main() {}
