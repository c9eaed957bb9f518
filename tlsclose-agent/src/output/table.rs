//! `tlsclose leaks` for people: one block for each site, with its code paths.

pub mod aborts;
mod blocks;
mod colour;
pub mod half_open;
mod leaks;
mod report_layout;
mod stack;
pub mod tls;

pub use self::blocks::plural;
pub use self::colour::Colour;
pub use self::leaks::{leaks, one};
pub use self::report_layout::Layout;

#[cfg(test)]
mod tests;
