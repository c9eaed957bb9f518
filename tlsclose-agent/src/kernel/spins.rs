//! Threads that spin: who reads finished streams again and again, and what a thread that burns a
//! core calls.

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{BtfTracePoint, tp_btf::BtfTracePointLink},
};
use tlsclose_common::facts::{EofSpin, Suspect};

use super::{
    load::Kernel,
    load_error::{AnyError, one_line},
    object::program,
    pod::Fact,
};

/// Where the program runs that looks at suspects. Not at the tracepoints of single calls: those are perf events, which
/// some hosts (`kernel.perf_event_paranoid` above 2) keep for CAP_SYS_ADMIN, and the agent has given that up.
pub const HOOK: &str = "sys_exit";
const PROGRAM: &str = "exit_call";

/// Loads the program, and leaves it there until somebody is suspect.
pub(super) fn load(ebpf: &mut Ebpf, btf: &AyaBtf) -> Result<(), AnyError> {
    let program: &mut BtfTracePoint = program(ebpf, PROGRAM)?;
    Ok(program.load(HOOK, btf)?)
}

impl Kernel {
    /// What these threads call while `wait` lasts: nothing where that cannot be seen. None if it cannot be said now.
    pub fn watch_calls(&mut self, tids: &[u32], wait: impl FnOnce()) -> Option<Vec<(u32, Suspect)>> {
        // A program is attached to a place once. Detaching waits for the whole kernel, so it is not waited for here.
        if self.detaching.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return None;
        }
        for tid in tids {
            if let Err(error) = self.suspects.insert(tid, Fact(Suspect::default()), 0) {
                log::warn!("cannot look at thread {tid}: {error}");
            }
        }
        match self.attach_to_calls() {
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

    fn attach_to_calls(&mut self) -> Result<BtfTracePointLink, AnyError> {
        let program: &mut BtfTracePoint = program(&mut self.ebpf, PROGRAM)?;
        let link = program.attach()?;
        Ok(program.take_link(link)?)
    }

    /// Who reads the finished stream of the socket at this address again and again.
    pub fn eof_spin(&self, sk: u64) -> Option<EofSpin> {
        self.eof_spins.get(&sk, 0).ok().map(|Fact(spin)| spin)
    }
}
