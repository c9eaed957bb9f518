//! Names of processes.

use bytemuck::{Pod, Zeroable};

/// Name of a process, followed by NUL where it is shorter: `task_struct.comm` of its first thread
/// (include/linux/sched.h). In words, so that it is loaded at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Comm(pub [u32; 4]);

impl Comm {
    /// No name is known: no process has an empty one.
    pub fn is_empty(self) -> bool {
        self.0[0].to_ne_bytes()[0] == 0
    }

    /// The name as it is in memory, with its NULs.
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}
