//! The hook at sends, which is attached only while somebody needs it: by merely being there it
//! takes 0.7 % of what a server on kept connections can do (docs/benchmarks.md).

use std::time::{Duration, Instant};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FExit, KProbe, fexit::FExitLinkId, kprobe::KProbeLinkId, tp_btf::BtfTracePointLinkId},
};
use tlsclose_common::limits::CENSUSES_REMEMBERED;

use super::{
    features::Feature,
    load::Kernel,
    load_error::{AnyError, one_line},
    object::program,
    reads::Place,
    system_calls::Functions,
};

/// How long the hook stays when nobody needs it any more.
const STAYS: Duration = Duration::from_secs(60);

const TRACEPOINT: &str = "send_length";
const EXIT: &str = "sendmsg_exit";
const PROBES: [&str; 2] = ["send_probe", "send_return"];

const SOCK_SEND_LENGTH: &str = "sock_send_length";
const TCP_SENDMSG: &str = "tcp_sendmsg";

enum Link {
    Tracepoint(BtfTracePointLinkId),
    Exit(FExitLinkId),
    Probes([KProbeLinkId; 2]),
}

/// How the outputs show it.
pub(super) fn feature(place: Place, outcome: &Result<SendHook, AnyError>) -> Feature {
    let feature = match (outcome, place) {
        (Err(error), _) => return Feature::missing(SOCK_SEND_LENGTH, &place.refused(error)),
        (Ok(_), Place::Tracepoint) => Feature::attached(SOCK_SEND_LENGTH),
        (Ok(_), Place::Exit) => Feature::replaced(SOCK_SEND_LENGTH, TCP_SENDMSG),
        (Ok(_), Place::Probe) => Feature::replaced(SOCK_SEND_LENGTH, &format!("kprobes at {TCP_SENDMSG}")),
    };
    Feature { probe: format!("{} while needed", feature.probe), ..feature }
}

/// The loaded hook.
pub(super) struct SendHook {
    place: Place,
    link: Option<Link>,
    needed_at: Instant,
    has_failed: bool,
    /// Once attached it stays: before 5.13 the end of a function cannot be attached to again, and where perf events
    /// are for CAP_SYS_ADMIN, nor can a kprobe.
    stays: bool,
}

impl SendHook {
    /// Loads the program, and shows by attaching it that this can be done.
    pub fn load(ebpf: &mut Ebpf, place: Place, functions: Functions, btf: &Btf) -> Result<Self, AnyError> {
        match place {
            Place::Tracepoint => program::<BtfTracePoint>(ebpf, TRACEPOINT)?.load(SOCK_SEND_LENGTH, btf)?,
            Place::Exit => {
                functions.must_end_safely()?;
                program::<FExit>(ebpf, EXIT)?.load(TCP_SENDMSG, btf)?;
            }
            Place::Probe => {
                for name in PROBES {
                    program::<KProbe>(ebpf, name)?.load()?;
                }
            }
        }
        let mut hook = Self { place, link: None, needed_at: Instant::now(), has_failed: false, stays: false };
        hook.attach(ebpf)?;
        if place == Place::Probe && perf_is_for_admins() {
            hook.stays = true;
            return Ok(hook);
        }
        hook.detach(ebpf)?;
        if place == Place::Exit {
            if hook.attach(ebpf).is_ok() {
                hook.detach(ebpf)?;
            } else {
                let exit: &mut FExit = program(ebpf, EXIT)?;
                exit.unload()?;
                exit.load(TCP_SENDMSG, btf)?;
                hook.stays = true;
            }
        }
        Ok(hook)
    }

    fn attach(&mut self, ebpf: &mut Ebpf) -> Result<(), AnyError> {
        self.link = Some(match self.place {
            Place::Tracepoint => Link::Tracepoint(program::<BtfTracePoint>(ebpf, TRACEPOINT)?.attach()?),
            Place::Exit => Link::Exit(program::<FExit>(ebpf, EXIT)?.attach()?),
            Place::Probe => {
                let [begin, end] = PROBES;
                let begin = program::<KProbe>(ebpf, begin)?.attach(TCP_SENDMSG, 0)?;
                Link::Probes([begin, program::<KProbe>(ebpf, end)?.attach(TCP_SENDMSG, 0)?])
            }
        });
        Ok(())
    }

    fn detach(&mut self, ebpf: &mut Ebpf) -> Result<(), AnyError> {
        match self.link.take() {
            Some(Link::Tracepoint(link)) => program::<BtfTracePoint>(ebpf, TRACEPOINT)?.detach(link)?,
            Some(Link::Exit(link)) => program::<FExit>(ebpf, EXIT)?.detach(link)?,
            Some(Link::Probes(links)) => {
                for (name, link) in PROBES.into_iter().zip(links) {
                    program::<KProbe>(ebpf, name)?.detach(link)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn follow(&mut self, ebpf: &mut Ebpf, is_needed: bool) {
        let now = Instant::now();
        if is_needed {
            self.needed_at = now;
        }
        let outcome = match (&self.link, is_needed) {
            (None, true) if !self.has_failed => self.attach(ebpf),
            (Some(_), false) if !self.stays && now.duration_since(self.needed_at) > STAYS => self.detach(ebpf),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            // Said once: the next attempt would fail as this one did.
            self.has_failed = true;
            log::warn!("the hook at sends cannot be attached or detached: {}", one_line(&error));
        }
    }
}

/// Debian's kernels know this number above 2, and some of them ask for CAP_SYS_ADMIN then, which the agent gives up.
fn perf_is_for_admins() -> bool {
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    paranoid.trim().parse::<i32>().is_ok_and(|level| level > 2)
}

impl Kernel {
    /// Attaches the hook at sends if a process is armed or uses io_uring, or there is TLS, and detaches
    /// it when nothing of that was so for a while.
    pub fn follow_sends(&mut self) {
        let is_needed = self.control_now.any_armed != 0 || self.met_io_uring() || self.is_tls_watched();
        if let Some(hook) = &mut self.send_hook {
            hook.follow(&mut self.ebpf, is_needed);
        }
    }

    /// Lately the hook at reads met a process whose sockets come into its hands unseen.
    fn met_io_uring(&self) -> bool {
        let met = self.io_uring_met.get(&0, 0).unwrap_or(0);
        met != 0 && self.control_now.census.wrapping_sub(met) <= CENSUSES_REMEMBERED
    }
}
