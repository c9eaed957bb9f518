//! Threads that spin: who reads finished streams again and again, and what a thread that burns a
//! core calls.

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{BtfTracePoint, ProgramError},
};
use tlsclose_common::facts::{EofSpin, Suspect, spin_call};

use super::{
    load::Kernel,
    load_error::{AnyError, one_line},
    object::program,
    pod::Fact,
};

/// Where the program runs that looks at suspects.
pub const HOOK: &str = "sys_exit";
const PROGRAM: &str = "system_call";

/// System calls by number (arch/x86/entry/syscalls/syscall_64.tbl).
#[cfg(target_arch = "x86_64")]
pub(super) static SPIN_CALLS: [u32; spin_call::COUNT] = [232, 281, 202, 24, 1];

/// System calls by number (include/uapi/asm-generic/unistd.h), which has no epoll_wait.
#[cfg(target_arch = "aarch64")]
pub(super) static SPIN_CALLS: [u32; spin_call::COUNT] = [22, 22, 98, 124, 64];

/// Loads the program, and leaves it there until somebody is suspect.
pub(super) fn load(ebpf: &mut Ebpf, btf: &AyaBtf) -> Result<(), AnyError> {
    let program: &mut BtfTracePoint = program(ebpf, PROGRAM)?;
    program.load(HOOK, btf)?;
    Ok(())
}

impl Kernel {
    /// What these threads call while `wait` lasts.
    pub fn watch_calls(&mut self, tids: &[u32], wait: impl FnOnce()) -> Vec<(u32, Suspect)> {
        for tid in tids {
            if let Err(error) = self.suspects.insert(tid, Fact(Suspect::default()), 0) {
                log::warn!("cannot look at thread {tid}: {error}");
            }
        }
        if let Err(error) = self.attached_while(wait) {
            log::warn!("cannot look at what threads call: {}", one_line(&error));
        }
        let mut seen = Vec::new();
        for tid in tids {
            if let Ok(Fact(suspect)) = self.suspects.get(tid, 0) {
                seen.push((*tid, suspect));
            }
            // Fails only when it was not inserted above.
            let _ = self.suspects.remove(tid);
        }
        seen
    }

    fn attached_while(&mut self, wait: impl FnOnce()) -> Result<(), AnyError> {
        let program: &mut BtfTracePoint = program(&mut self.ebpf, PROGRAM)?;
        let link = match program.attach() {
            // It could not be loaded here: `doctor` says so.
            Err(ProgramError::NotLoaded) => return Ok(()),
            attached => attached?,
        };
        wait();
        program.detach(link)?;
        Ok(())
    }

    /// Who reads the finished stream of the socket at this address again and again.
    pub fn eof_spin(&self, sk: u64) -> Option<EofSpin> {
        self.eof_spins.get(&sk, 0).ok().map(|Fact(spin)| spin)
    }
}
