//! The BPF objects: one for each way to read kernel memory, with what they must know of this kernel.

use std::borrow::Cow;

use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel};
use tlsclose_common::limits::STREAM_RING_BYTES;

use super::{
    btf::Btf,
    layout::Resolved,
    load_error::{LoadError, refused},
    map_prealloc,
    options::Options,
    pod::Fact,
};

static TYPED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/typed.bpf.o"));
static PROBED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probed.bpf.o"));

/// Helpers that give pointers of known types, or call back.
const TYPING: [&str; 4] = ["task_pt_regs", "for_each_map_elem", "sock_from_file", "get_current_task_btf"];

/// How the programs read kernel memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAccess {
    /// Through pointers whose types the verifier knows.
    Typed,
    /// With a helper for each field: the kernel lacks this one, which came with 5.15 or before.
    Probed(&'static str),
    /// The same where types would do, but not at kprobes.
    AtProbes,
}

impl MemoryAccess {
    pub fn of(btf: &Btf) -> Self {
        TYPING.into_iter().find(|helper| !btf.has_helper(helper)).map_or(MemoryAccess::Typed, MemoryAccess::Probed)
    }
}

/// What is loaded.
pub struct Object<'a> {
    pub options: &'a Options,
    pub access: MemoryAccess,
    /// Programs may call `bpf_probe_read_kernel`.
    pub by_address: bool,
    /// Maps get their memory as they need it.
    pub allocates: bool,
    pub btf: &'a AyaBtf,
}

impl Object<'_> {
    /// Loads the object; none of its programs is loaded yet.
    pub fn load(&self, resolved: &Resolved) -> Result<Ebpf, LoadError> {
        let options = self.options;
        let (bytes, is_probed) = match self.access {
            MemoryAccess::Typed => (TYPED, false),
            MemoryAccess::Probed(_) | MemoryAccess::AtProbes => (PROBED, true),
        };
        let bytes = match self.allocates {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned(map_prealloc::at_once(bytes).ok_or(LoadError::NoMap("TLS_SOCKETS"))?),
        };
        let layout = Fact(resolved.layout);
        let file_ref = Fact(resolved.file_ref);
        let system_calls = Fact(resolved.system_calls);
        let (stream, all) = (u32::from(options.stream), u32::from(options.census_of_all));
        let by_address = u32::from(self.by_address);
        // 0 lets the verifier drop every log call.
        let log_level = if options.verbose { aya_log::Level::Debug as u8 } else { 0 };
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(self.btf))
            .override_global("LAYOUT", &layout, true)
            .override_global("FILE_REF", &file_ref, true)
            .override_global("BY_ADDRESS", &by_address, !is_probed)
            .override_global("TASK_IO_URING", &resolved.task_io_uring, true)
            .override_global("TASK_THREAD_POINTER", &resolved.task_thread_pointer, true)
            .override_global("PT_REGS", &resolved.pt_regs, true)
            .override_global("RECVMSG_PARAMETERS", &resolved.recvmsg_parameters, true)
            .override_global("ARGUMENTS", &resolved.arguments, true)
            .override_global("TCP_RETRANSMITS", &resolved.tcp_retransmits, true)
            .override_global("TCP_PROBES_OUT", &resolved.tcp_probes_out, true)
            .override_global("SYSTEM_CALLS", &system_calls, true)
            .override_global("RESET_REASONS", &resolved.reset_reasons, true)
            .override_global("TASK_STACK", &resolved.task_stack, is_probed)
            .override_global("STACK_REGISTERS", &resolved.stack_registers, is_probed)
            .override_global(aya_log::LEVEL, &log_level, true)
            .override_global("STREAM", &stream, true)
            .override_global("CENSUS_OF_ALL", &all, true)
            .map_max_entries("HALF_CLOSED", options.max_sockets)
            .map_max_entries("TLS_SOCKETS", options.max_sockets)
            .verifier_log_level(if options.verbose { VerifierLogLevel::VERBOSE } else { VerifierLogLevel::STATS });
        if options.stream {
            loader.map_max_entries("STREAM_RING", STREAM_RING_BYTES);
        }
        loader.load(&bytes).map_err(|error| refused("the BPF object", &error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_maps_take_all_their_memory_only_the_flags_of_two_maps_change() {
        for object in [TYPED, PROBED] {
            let changed = map_prealloc::at_once(object).unwrap();
            assert_eq!(changed.len(), object.len());
            let pairs = object.iter().zip(&changed).filter(|(before, after)| before != after);
            assert_eq!(pairs.collect::<Vec<_>>(), [(&1, &0); 2]);
        }
        assert_eq!(map_prealloc::at_once(b"no object"), None);
    }
}
