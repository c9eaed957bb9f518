//! Threads that spin: who reads finished streams again and again, and what a thread that burns a
//! core calls.

use std::path::Path;

use aya::{
    Ebpf,
    programs::{TracePoint, trace_point::TracePointLink},
};
use tlsclose_common::facts::{EofSpin, Suspect};

use super::{
    load::Kernel,
    load_error::{AnyError, LoadError, one_line},
    object::program,
    pod::Fact,
};

/// The first place where the program runs that looks at suspects.
pub const HOOK: &str = "sys_exit_epoll_wait";
const PROGRAM: &str = "exit_call";

/// The calls that it looks at: how an event loop asks, and all that it does when it has been told.
const CALLS: &[&str] = &[
    #[cfg(target_arch = "x86_64")]
    "epoll_wait",
    "epoll_pwait",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "accept",
    "accept4",
    "io_uring_enter",
    "clock_nanosleep",
];

/// Loads the program, and leaves it there until somebody is suspect.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let program: &mut TracePoint = program(ebpf, PROGRAM)?;
    program
        .load()
        .map_err(|error| LoadError::Program { what: PROGRAM.to_owned(), reason: one_line(&error.to_string()) })
}

/// The tracepoints of system calls can be found.
pub(super) fn can_attach() -> bool {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    places.iter().any(|place| Path::new(place).join("events/syscalls/sys_exit_epoll_pwait").is_dir())
}

impl Kernel {
    /// What these threads call while `wait` lasts: nothing where not all of [`CALLS`] can be seen. None
    /// if it cannot be said now.
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
            Ok(links) => {
                wait();
                self.detaching = Some(std::thread::spawn(move || drop(links)));
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

    fn attach_to_calls(&mut self) -> Result<Vec<TracePointLink>, AnyError> {
        let program: &mut TracePoint = program(&mut self.ebpf, PROGRAM)?;
        CALLS
            .iter()
            .map(|call| {
                let link = program.attach("syscalls", &format!("sys_exit_{call}"))?;
                Ok(program.take_link(link)?)
            })
            .collect()
    }

    /// Who reads the finished stream of the socket at this address again and again.
    pub fn eof_spin(&self, sk: u64) -> Option<EofSpin> {
        self.eof_spins.get(&sk, 0).ok().map(|Fact(spin)| spin)
    }
}
