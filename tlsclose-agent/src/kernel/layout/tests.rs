//! On types recorded from several kernels (`cargo xtask btf`), and on the running one's.

use std::path::{Path, PathBuf};

use super::*;
use crate::kernel::{
    arch::{AARCH64, X86_64},
    btf::file,
    object::MemoryAccess::{self, Probed, Typed},
    system_calls::Functions,
};

fn recorded(kernel: &str) -> Btf<'static> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/btf").join(format!("{kernel}.btf"));
    Btf::parse(file::read(&file).unwrap()).unwrap()
}

/// What was found on the kernels themselves.
struct Known {
    kernel: &'static str,
    access: MemoryAccess,
    file_ref: FileRef,
    recvmsg_parameters: u32,
    /// `tcp_sock.inet_conn.icsk_accept_queue.rskq_accept_head`
    tcp_queue_head: u32,
    reset_reasons: u32,
    /// `sock_recv_length` and `sock_send_length`
    lengths: bool,
}

const KNOWN: [Known; 5] = [
    Known {
        kernel: "5.10",
        access: Probed("task_pt_regs"),
        file_ref: FileRef { offset: 56, biased: 0 },
        recvmsg_parameters: 6,
        tcp_queue_head: 1000,
        reset_reasons: 0,
        lengths: false,
    },
    Known {
        kernel: "6.1",
        access: Typed,
        file_ref: FileRef { offset: 56, biased: 0 },
        recvmsg_parameters: 5,
        tcp_queue_head: 1016,
        reset_reasons: 0,
        lengths: false,
    },
    Known {
        kernel: "6.12",
        access: Typed,
        file_ref: FileRef { offset: 0, biased: 0 },
        recvmsg_parameters: 5,
        tcp_queue_head: 1024,
        reset_reasons: 1,
        lengths: true,
    },
    Known {
        kernel: "6.18",
        access: Typed,
        file_ref: FileRef { offset: 176, biased: 1 },
        recvmsg_parameters: 4,
        tcp_queue_head: 1032,
        reset_reasons: 1,
        lengths: true,
    },
    Known {
        kernel: "7.2",
        access: Typed,
        file_ref: FileRef { offset: 168, biased: 1 },
        recvmsg_parameters: 4,
        tcp_queue_head: 1064,
        reset_reasons: 1,
        lengths: true,
    },
];

#[test]
fn every_recorded_kernel_has_every_field_where_it_was_found() {
    for known in KNOWN {
        let (kernel, btf) = (known.kernel, recorded(known.kernel));
        let resolved = resolve_for(&X86_64, &btf);
        let resolved = resolved.unwrap_or_else(|error| panic!("{kernel}: {error}: record it with cargo xtask btf"));
        let layout = &resolved.layout;
        assert_eq!(MemoryAccess::of(&btf), known.access, "{kernel}");
        assert_eq!(resolved.file_ref, known.file_ref, "{kernel}");
        assert_eq!(resolved.recvmsg_parameters, known.recvmsg_parameters, "{kernel}");
        assert_eq!(layout.tcp_queue_head, known.tcp_queue_head, "{kernel}");
        assert_eq!(resolved.reset_reasons, known.reset_reasons, "{kernel}");
        assert_eq!(btf.parameters("tcp_sendmsg"), Some(3), "{kernel}");
        for tracepoint in ["sock_recv_length", "sock_send_length"] {
            assert_eq!(btf.has_tracepoint(tracepoint), known.lengths, "{kernel}: {tracepoint}");
        }
        for tracepoint in ["inet_sock_set_state", "tcp_destroy_sock", "tcp_send_reset", "sched_process_exit"] {
            assert!(btf.has_tracepoint(tracepoint), "{kernel}: {tracepoint}");
        }
        // The same everywhere: the start of every socket, a request in a queue, user registers.
        let socket = [layout.sk_daddr, layout.sk_rcv_saddr, layout.sk_dport, layout.sk_num, layout.sk_family];
        assert_eq!((socket, layout.sk_state), ([0, 4, 12, 14, 16], 18), "{kernel}");
        assert_eq!((layout.request_listener, layout.request_next, layout.request_sk), (96, 136, 200), "{kernel}");
        assert_eq!((resolved.pt_regs, resolved.arguments), ([16, 19, 4], [14, 13, 12, 7]), "{kernel}");
        for optional in [resolved.tcp_retransmits, resolved.tcp_probes_out, resolved.task_thread_pointer] {
            assert_ne!(optional, ABSENT, "{kernel}");
        }
    }
}

#[test]
fn no_two_recorded_kernels_are_alike() {
    let layouts: Vec<Resolved> =
        KNOWN.iter().map(|known| resolve_for(&X86_64, &recorded(known.kernel)).unwrap()).collect();
    for (i, one) in layouts.iter().enumerate() {
        assert!(!layouts[..i].contains(one), "{}", KNOWN[i].kernel);
    }
}

/// `struct pt_regs` of arm64 is x0 to x30, sp, pc, pstate, orig_x0, syscallno (arch/arm64/include/asm/ptrace.h).
#[test]
fn registers_of_arm64_are_where_its_kernel_has_them() {
    let btf = recorded("arm64-6.1");
    let resolved = resolve_for(&AARCH64, &btf).unwrap();
    assert_eq!((resolved.pt_regs, resolved.arguments), ([32, 31, 29], [34, 1, 2, 3]));
    assert_eq!(resolved.system_calls.number_at, 35 * 8);
    assert_eq!(resolved.stack_registers, KERNEL_STACK - btf.size("pt_regs").unwrap());
    assert_eq!((resolved.system_calls.accept4, resolved.system_calls.epoll_wait), (242, ABSENT));
    assert_eq!((resolved.recvmsg_parameters, resolved.task_thread_pointer), (5, ABSENT));
    assert_eq!((MemoryAccess::of(&btf), resolved.layout.sk_state), (Typed, 18));
    // The types of another processor have other registers.
    assert!(resolve_for(&X86_64, &btf).is_err() && resolve_for(&AARCH64, &recorded("6.1")).is_err());
}

#[test]
fn what_a_read_calls_before_it_returns_is_the_innermost() {
    for (kernel, function) in
        [("5.10", "tcp_cleanup_rbuf"), ("6.1", "__tcp_cleanup_rbuf"), ("arm64-6.1", "__tcp_cleanup_rbuf")]
    {
        assert_eq!(Functions::of(&recorded(kernel)).after_read, Some(function), "{kernel}");
    }
}

#[test]
fn every_field_is_found_on_the_running_kernel() {
    let path = PathBuf::from("/sys/kernel/btf/vmlinux");
    if !path.exists() {
        println!("skipped: this kernel has no BTF");
        return;
    }
    let resolved = resolve(&Btf::parse(file::read(&path).unwrap()).unwrap()).unwrap();
    assert_ne!(resolved.layout.tcp_rcv_nxt, 0);
    assert!((4..=6).contains(&resolved.recvmsg_parameters), "{resolved:?}");
    assert_ne!(resolved.layout.sk_state, resolved.layout.sk_family);
}
