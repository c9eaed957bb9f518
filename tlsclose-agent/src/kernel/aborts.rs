//! Connections that ended by a reset or an error, as the kernel side counts them.

use tlsclose_common::facts::{AbortKey, AbortStackKey, Comm};

use super::{load::Kernel, pod::Fact};

/// Those of one process and cause, since the programs were loaded.
#[derive(Clone, Copy, Debug)]
pub struct AbortCount {
    pub key: AbortKey,
    pub count: u64,
    /// Name of the process when it first closed so; empty for nobody.
    pub comm: Comm,
}

impl Kernel {
    pub fn aborts(&self) -> Vec<AbortCount> {
        let keys = self.aborts.keys().filter_map(Result::ok);
        keys.filter_map(|key| {
            let values = self.aborts.get(&key, 0).ok()?;
            let count = values.iter().map(|Fact(value)| value.count).sum();
            let comm = values.iter().map(|Fact(value)| value.comm).find(|comm| !comm.is_empty()).unwrap_or_default();
            Some(AbortCount { key: key.0, count, comm })
        })
        .collect()
    }

    /// The process has ended and will close nothing more.
    pub fn forget_aborts(&mut self, key: AbortKey) {
        // Fails only when there is nothing to remove.
        let _ = self.aborts.remove(&Fact(key));
    }

    /// Sampled closes since this was called last. What is counted between the look and the
    /// removal is lost, like all that was not sampled.
    pub fn take_abort_stacks(&mut self) -> Vec<(AbortStackKey, u64)> {
        let keys: Vec<Fact<AbortStackKey>> = self.abort_stacks.keys().filter_map(Result::ok).collect();
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let Ok(count) = self.abort_stacks.get(&key, 0) else { continue };
            // Fails only when the entry was recycled meanwhile.
            let _ = self.abort_stacks.remove(&key);
            taken.push((key.0, count));
        }
        taken
    }
}
