//! Threads that spin around connections that are over.

use serde::{Deserialize, Serialize};

use tlsclose_core::model::Frame;

/// A thread that burns a core around the connection: it reads the finished stream again and again,
/// or asks for events again and again and never reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spinning {
    pub pid: u32,
    /// Null when it is not known.
    pub tid: Option<u32>,
    /// `read` or `epoll_wait`.
    pub call: String,
    pub per_second: f64,
    pub stack: Vec<Frame>,
}
