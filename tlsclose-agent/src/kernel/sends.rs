//! The hook at sends, which is attached only while somebody needs it: by merely being there it
//! takes 0.7 % of what a server on kept connections can do (docs/benchmarks.md).

use std::time::{Duration, Instant};

use aya::{
    Btf,
    maps::{Array, MapData},
    programs::{BtfTracePoint, FExit, KProbe},
};
use tlsclose_common::{facts::Control, limits::CENSUSES_REMEMBERED};

use super::{
    attach::{Links, Programs},
    features::ProbedFeature,
    hook::Hook,
    load_error::{AnyError, LoadError, one_line},
    reads::Place,
    system_calls::Functions,
};

/// How long the hook stays when nobody needs it any more.
const STAYS: Duration = Duration::from_secs(60);

const EXIT: &str = "sendmsg_exit";
const PROBES: [&str; 2] = ["send_probe", "send_return"];

const TCP_SENDMSG: &str = "tcp_sendmsg";

/// How the outputs show it.
pub(super) fn feature(place: Place, outcome: &Result<Loaded, AnyError>) -> ProbedFeature {
    let feature = match (outcome, place) {
        (Err(error), _) => return ProbedFeature::missing(Hook::Sends, &place.refused(error)),
        (Ok(_), Place::Tracepoint) => ProbedFeature::attached(Hook::Sends),
        (Ok(_), Place::Exit) => ProbedFeature::replaced(Hook::Sends, TCP_SENDMSG),
        (Ok(_), Place::Probe) => ProbedFeature::replaced(Hook::Sends, &format!("kprobes at {TCP_SENDMSG}")),
    };
    ProbedFeature { probe: format!("{} while needed", feature.probe), ..feature }
}

/// The loaded hook.
pub(super) struct Loaded {
    place: Place,
    links: Option<Links>,
    needed_at: Instant,
    has_failed: bool,
    /// Once attached it stays: before 5.13 the end of a function cannot be attached to again, and where perf events
    /// are for CAP_SYS_ADMIN, nor can a kprobe.
    stays: bool,
}

impl Loaded {
    /// Loads the program, and shows by attaching it that this can be done.
    pub fn load(programs: &mut Programs, place: Place, functions: Functions, btf: &Btf) -> Result<Self, AnyError> {
        let tracepoint = Hook::Sends.spec();
        match place {
            Place::Tracepoint => {
                programs.get::<BtfTracePoint>(tracepoint.program)?.load(tracepoint.attach_point, btf)?;
            }
            Place::Exit => {
                functions.must_end_safely()?;
                programs.get::<FExit>(EXIT)?.load(TCP_SENDMSG, btf)?;
            }
            Place::Probe => {
                for name in PROBES {
                    programs.get::<KProbe>(name)?.load()?;
                }
            }
        }
        let mut hook = Self { place, links: None, needed_at: Instant::now(), has_failed: false, stays: false };
        hook.attach(programs)?;
        if place == Place::Probe && perf_is_for_admins() {
            hook.stays = true;
            return Ok(hook);
        }
        hook.links = None;
        if place == Place::Exit {
            if hook.attach(programs).is_ok() {
                hook.links = None;
            } else {
                let exit: &mut FExit = programs.get(EXIT)?;
                exit.unload()?;
                exit.load(TCP_SENDMSG, btf)?;
                hook.stays = true;
            }
        }
        Ok(hook)
    }

    fn attach(&mut self, programs: &mut Programs) -> Result<(), AnyError> {
        let mut links = Links::default();
        match self.place {
            Place::Tracepoint => {
                let program: &mut BtfTracePoint = programs.get(Hook::Sends.spec().program)?;
                links.push(program.attach().and_then(|id| program.take_link(id))?);
            }
            Place::Exit => {
                let program: &mut FExit = programs.get(EXIT)?;
                links.push(program.attach().and_then(|id| program.take_link(id))?);
            }
            Place::Probe => {
                for name in PROBES {
                    let program: &mut KProbe = programs.get(name)?;
                    links.push(program.attach(TCP_SENDMSG, 0).and_then(|id| program.take_link(id))?);
                }
            }
        }
        self.links = Some(links);
        Ok(())
    }

    fn follow(&mut self, programs: &mut Programs, is_needed: bool) {
        let now = Instant::now();
        if is_needed {
            self.needed_at = now;
        }
        match (&self.links, is_needed) {
            (None, true) if !self.has_failed => {
                if let Err(error) = self.attach(programs) {
                    // Said once: the next attempt would fail as this one did.
                    self.has_failed = true;
                    log::warn!("the hook at sends cannot be attached: {}", one_line(&error));
                }
            }
            (Some(_), false) if !self.stays && now.duration_since(self.needed_at) > STAYS => self.links = None,
            _ => {}
        }
    }
}

/// Debian's kernels know this number above 2, and some of them ask for CAP_SYS_ADMIN then, which the agent gives up.
fn perf_is_for_admins() -> bool {
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    paranoid.trim().parse::<i32>().is_ok_and(|level| level > 2)
}

/// The hook at sends, and what it is needed for besides armed processes and TLS.
pub(super) struct Sends {
    hook: Option<Loaded>,
    io_uring_met: Array<MapData, u32>,
}

impl Sends {
    pub fn of(programs: &mut Programs, hook: Option<Loaded>) -> Result<Self, LoadError> {
        Ok(Self { hook, io_uring_met: programs.map("IO_URING_MET")? })
    }

    /// Attaches the hook if a process is armed or uses io_uring, or there is TLS, and detaches it when nothing of
    /// that was so for a while.
    pub fn follow(&mut self, programs: &mut Programs, control: &Control, is_tls_watched: bool) {
        let is_needed = control.any_armed != 0 || self.has_met_io_uring(control.census) || is_tls_watched;
        if let Some(hook) = &mut self.hook {
            hook.follow(programs, is_needed);
        }
    }

    pub fn take_links(&mut self) -> Links {
        self.hook.as_mut().and_then(|hook| hook.links.take()).unwrap_or_default()
    }

    /// Lately the hook at reads met a process whose sockets come into its hands unseen.
    fn has_met_io_uring(&self, census: u32) -> bool {
        let met = self.io_uring_met.get(&0, 0).unwrap_or(0);
        met != 0 && census.wrapping_sub(met) <= CENSUSES_REMEMBERED
    }
}
