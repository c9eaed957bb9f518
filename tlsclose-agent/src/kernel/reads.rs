//! The hook at reads, and where reads and sends are seen: best at their tracepoints, else at the end of the
//! functions that do them, else at kprobes.

use std::path::Path;

use aya::{
    Btf as AyaBtf,
    programs::{FExit, KProbe},
};

use super::{
    attach::Programs,
    btf::Btf,
    features::ProbedFeature,
    hook::Hook,
    load_error::{AnyError, one_line},
    system_calls::Functions,
    tls,
};

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
        if btf.has_tracepoint(Hook::Reads.attach_point()) { Self::Tracepoint } else { Self::Exit }
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

pub(super) fn attach(
    programs: &mut Programs,
    place: Place,
    functions: Functions,
    btf: &AyaBtf,
) -> Result<(), AnyError> {
    match place {
        Place::Tracepoint => programs.attach_tracepoint(Hook::Reads, btf)?,
        Place::Exit => {
            functions.must_end_safely()?;
            let program: &mut FExit = programs.get("recvmsg_exit")?;
            program.load(TCP_RECVMSG, btf)?;
            let link = program.attach().and_then(|id| program.take_link(id))?;
            programs.keep(link);
        }
        Place::Probe => {
            let function = functions.after_read.ok_or("this kernel has no function to see reads at")?;
            let program: &mut KProbe = programs.get("read_probe")?;
            program.load()?;
            let link = program.attach(function, 0).and_then(|id| program.take_link(id))?;
            programs.keep(link);
        }
    }
    Ok(())
}

/// How the outputs show it.
pub(super) fn feature(place: Place, functions: Functions, outcome: &Result<(), AnyError>) -> ProbedFeature {
    match (outcome, place) {
        (Err(error), _) => ProbedFeature::missing(Hook::Reads, &place.refused(error)),
        (Ok(()), Place::Tracepoint) => ProbedFeature::attached(Hook::Reads),
        (Ok(()), Place::Exit) => ProbedFeature::replaced(Hook::Reads, TCP_RECVMSG),
        (Ok(()), Place::Probe) => {
            let function = functions.after_read.unwrap_or_default();
            ProbedFeature::replaced(Hook::Reads, &format!("a kprobe at {function}"))
        }
    }
}

/// The function that the probe is at has become a part of those that call it.
pub(super) fn miss(features: &mut Vec<ProbedFeature>) {
    let missing = ProbedFeature::missing(Hook::Reads, "this kernel's reads do not come by the kprobe that sees them");
    features.retain(|feature| ![Hook::Reads, Hook::TlsRecords].contains(&feature.hook));
    features.push(missing);
    features.push(tls::feature(features));
}
