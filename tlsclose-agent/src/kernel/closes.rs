//! What the kernel side knows of calls of close().

use tlsclose_common::facts::{BadCloses, Closer, close_call};

use super::{load::Kernel, pod::Fact};
use crate::{finding::CloseResult, tracker::ProcessKey};

impl Kernel {
    /// The last close() of the socket at this address that left it open.
    pub fn closer(&self, sk: u64) -> Option<Closer> {
        self.closers.get(&sk, 0).ok().map(|Fact(closer)| closer)
    }

    /// Calls of close() by the process for descriptors that were not open.
    pub fn bad_closes(&self, process: ProcessKey) -> Option<BadCloses> {
        let Fact(bad) = self.bad_closes.get(&process.tgid, 0).ok()?;
        (bad.started_at == process.started_at).then_some(bad)
    }

    /// Calls of close() by processes with TCP sockets, by result.
    pub fn close_calls(&self) -> [(CloseResult, u64); 3] {
        let count = |slot: u32| self.close_calls.get(&slot, 0).map(|cpus| cpus.iter().sum()).unwrap_or(0);
        [
            (CloseResult::Closed, count(close_call::CLOSED)),
            (CloseResult::StillHeld, count(close_call::STILL_HELD)),
            (CloseResult::BadFd, count(close_call::BAD_FD)),
        ]
    }
}
