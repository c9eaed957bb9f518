//! The symbol helper: a process without rights that reads files which belong to anybody, and what
//! the agent and it say to each other.
//!
//! ```text
//!  agent ── request, sealed copy of a file ──► helper: ELF, DWARF, unwind tables, code
//!    ▲                                           │
//!    └────────── answer: names, rules ◄──────────┘
//! ```
//!
//! All that parses a stranger's file runs behind [`helper::helper_main`]. The agent uses
//! [`protocol`], [`rule`] and the types of the answers, and calls no parser.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod confine;
pub mod demangle;
pub mod entry_points;
pub mod go_table;
pub mod helper;
pub mod perf_map;
pub mod protocol;
pub mod rule;
pub mod runtime;
pub mod unwind;

mod elf;
mod instructions;
mod names;
mod return_scan;
mod sandbox;
