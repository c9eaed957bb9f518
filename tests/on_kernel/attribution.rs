//! Who leaks, by function, file and line, whatever the program was written in.

mod duplicate_images;
mod jit;
mod languages;
mod large_binaries;
mod python;
mod real_programs;
