//! The hook at reads, and where reads and sends are seen: best at their tracepoints, else at the end of the
//! functions that do them, else at kprobes.

use std::path::Path;

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{FExit, KProbe},
};

use super::{
    btf::Btf,
    features::Feature,
    load::{Kernel, attach_tracepoint},
    load_error::{AnyError, one_line},
    object::program,
    system_calls::Functions,
    tls,
};

const SOCK_RECV_LENGTH: &str = "sock_recv_length";
const TCP_RECVMSG: &str = "tcp_recvmsg";

/// There where the kernel lets perf events be kprobes (kernel/events/core.c, `perf_kprobe`).
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

/// Which programs see reads and sends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `sock_recv_length` and `sock_send_length`, which came together with 6.3.
    Tracepoint,
    /// The ends of `tcp_recvmsg` and `tcp_sendmsg`.
    Exit,
    /// Within `tcp_recvmsg`, and both ends of `tcp_sendmsg`.
    Probe,
}

impl Place {
    /// What to try first.
    pub fn of(btf: &Btf) -> Self {
        if btf.has_tracepoint(SOCK_RECV_LENGTH) { Self::Tracepoint } else { Self::Exit }
    }

    /// Why nothing is attached there, or at what would come next.
    pub fn refused(self, error: &AnyError) -> String {
        let error = one_line(error);
        if self == Self::Exit { format!("{error}; and there are no kprobes to use instead") } else { error }
    }
}

/// Kprobes are worth a try.
pub(super) fn has_probes(functions: Functions) -> bool {
    functions.after_read.is_some() && Path::new(KPROBES).is_dir()
}

pub(super) fn attach(ebpf: &mut Ebpf, place: Place, functions: Functions, btf: &AyaBtf) -> Result<(), AnyError> {
    match place {
        Place::Tracepoint => attach_tracepoint(ebpf, "recv_length", SOCK_RECV_LENGTH, btf)?,
        Place::Exit => {
            functions.must_end_safely()?;
            let program: &mut FExit = program(ebpf, "recvmsg_exit")?;
            program.load(TCP_RECVMSG, btf)?;
            program.attach()?;
        }
        Place::Probe => {
            let function = functions.after_read.ok_or("this kernel has no function to see reads at")?;
            let program: &mut KProbe = program(ebpf, "read_probe")?;
            program.load()?;
            program.attach(function, 0)?;
        }
    }
    Ok(())
}

/// How the outputs show it.
pub(super) fn feature(place: Place, functions: Functions, outcome: &Result<(), AnyError>) -> Feature {
    match (outcome, place) {
        (Err(error), _) => Feature::missing(SOCK_RECV_LENGTH, &place.refused(error)),
        (Ok(()), Place::Tracepoint) => Feature::attached(SOCK_RECV_LENGTH),
        (Ok(()), Place::Exit) => Feature::replaced(SOCK_RECV_LENGTH, TCP_RECVMSG),
        (Ok(()), Place::Probe) => {
            let function = functions.after_read.unwrap_or_default();
            Feature::replaced(SOCK_RECV_LENGTH, &format!("a kprobe at {function}"))
        }
    }
}

impl Kernel {
    /// The function that the probe is at has become a part of those that call it.
    pub(super) fn miss_reads(&mut self) {
        let missing =
            Feature::missing(SOCK_RECV_LENGTH, "this kernel's reads do not come by the kprobe that sees them");
        let is_other = |feature: &Feature| ![SOCK_RECV_LENGTH, tls::RECORDS].contains(&feature.hook.attach_point);
        self.features.retain(is_other);
        self.features.push(missing);
        self.features.push(tls::feature(&self.features));
    }
}
