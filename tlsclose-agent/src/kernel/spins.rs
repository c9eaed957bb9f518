//! Threads that spin: who reads finished streams again and again, and what a thread that burns a
//! core calls.

use aya::{
    Btf as AyaBtf,
    maps::{HashMap, MapData},
    programs::{BtfTracePoint, tp_btf::BtfTracePointLink},
};
use tlsclose_common::facts::{EofSpin, Suspect};

use super::{
    attach::Programs,
    features::ProbedFeature,
    hook::Hook,
    load_error::{AnyError, LoadError, one_line},
    pod::Fact,
};

/// Where the program runs that looks at suspects. Not at the tracepoints of single calls: those are perf events, which
/// some hosts (`kernel.perf_event_paranoid` above 2) keep for CAP_SYS_ADMIN, and the agent has given that up.
const HOOK: Hook = Hook::SystemCallExits;

/// Loads the program, and leaves it there until somebody is suspect.
pub(super) fn load(programs: &mut Programs, btf: &AyaBtf) -> ProbedFeature {
    let loaded = programs
        .get::<BtfTracePoint>(HOOK.spec().program)
        .map_err(AnyError::from)
        .and_then(|program| Ok(program.load(HOOK.attach_point(), btf)?));
    match loaded {
        Ok(()) => ProbedFeature::works(HOOK, "loaded"),
        Err(error) => ProbedFeature::missing(HOOK, &one_line(&error)),
    }
}

pub struct Spins {
    eof: HashMap<MapData, u64, Fact<EofSpin>>,
    suspects: HashMap<MapData, u32, Fact<Suspect>>,
    /// Detaches what looked at the last suspects.
    detaching: Option<std::thread::JoinHandle<()>>,
}

impl Spins {
    pub(super) fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        Ok(Self { eof: programs.map("EOF_SPINS")?, suspects: programs.map("SUSPECTS")?, detaching: None })
    }

    /// What these threads call while `wait` lasts: nothing where that cannot be seen. None if it cannot be said now.
    pub(super) fn watch_calls(
        &mut self,
        programs: &mut Programs,
        tids: &[u32],
        wait: impl FnOnce(),
    ) -> Option<Vec<(u32, Suspect)>> {
        // A program is attached to a place once. Detaching waits for the whole kernel, so it is not waited for here.
        if self.detaching.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return None;
        }
        for tid in tids {
            if let Err(error) = self.suspects.insert(tid, Fact(Suspect::default()), 0) {
                log::warn!("cannot look at thread {tid}: {error}");
            }
        }
        match attach(programs) {
            Ok(link) => {
                wait();
                self.detaching = Some(std::thread::spawn(move || drop(link)));
            }
            // `doctor` says so, too.
            Err(error) => log::debug!("cannot look at what threads call: {}", one_line(&error.to_string())),
        }
        let seen = tids.iter().map(|tid| {
            let suspect = self.suspects.get(tid, 0).map_or(Suspect::default(), |Fact(suspect)| suspect);
            log::debug!("thread {tid}: {} polls, {} other calls", suspect.polls, suspect.others);
            (*tid, suspect)
        });
        let seen = seen.collect();
        for tid in tids {
            // Fails only when it was not inserted above.
            let _ = self.suspects.remove(tid);
        }
        Some(seen)
    }

    /// Who reads the finished stream of the socket at this address again and again.
    pub fn at_end(&self, sk: u64) -> Option<EofSpin> {
        self.eof.get(&sk, 0).ok().map(|Fact(spin)| spin)
    }
}

fn attach(programs: &mut Programs) -> Result<BtfTracePointLink, AnyError> {
    let program: &mut BtfTracePoint = programs.get(HOOK.spec().program)?;
    let link = program.attach()?;
    Ok(program.take_link(link)?)
}
