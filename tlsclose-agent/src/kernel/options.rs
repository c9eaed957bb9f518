//! What the agent asks of the kernel side.

use std::path::PathBuf;

use tlsclose_common::limits::HALF_CLOSED_ENTRIES;

/// Where the kernel shows its own types.
pub(super) const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What the agent asks of the kernel side.
#[derive(Clone, Debug)]
pub struct Options {
    pub btf: PathBuf,
    /// Entries of the exact map.
    pub max_sockets: u32,
    /// Per CPU.
    pub stacks_per_second: u32,
    /// Per CPU.
    pub copies_per_second: u32,
    /// Send every transition, and keep every socket's owner.
    pub stream: bool,
    /// The census writes out every TCP socket, not only half-closed ones.
    pub census_of_all: bool,
    /// Count calls of socket() that fail because no descriptor is left.
    pub socket_errors: bool,
    /// Watch calls of close().
    pub close_calls: CloseCalls,
    /// Print the verifier's log when a program is refused.
    pub verbose: bool,
}

/// Whether to watch calls of close().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseCalls {
    /// Where the host allows it.
    #[default]
    Auto,
    /// The agent does not start where the host does not allow it.
    On,
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            btf: PathBuf::from(BTF),
            max_sockets: HALF_CLOSED_ENTRIES,
            stacks_per_second: 1000,
            copies_per_second: 100,
            stream: false,
            census_of_all: false,
            socket_errors: true,
            close_calls: CloseCalls::Auto,
            verbose: false,
        }
    }
}
