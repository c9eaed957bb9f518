//! TLS connections and their goodbyes. Pure: facts about closes come in as data.

pub mod accounts;
pub mod outcome;

pub use accounts::{Accounts, Close, Sampled};
