//! Who processes are, as of the last look: a process may become another program, and once it has ended nobody can be
//! asked. Pure: looks come in as calls.

use std::time::{Duration, Instant};

use super::procfs::Identity;
use crate::attribution::bounded::Bounded;
use tlsclose_core::model::ProcessId;

/// After so long a process is looked at again: it may be another program by now. Of processes with half-closed sockets
/// the kernel side tells at once.
const AGE: Duration = Duration::from_secs(30);

/// Processes kept.
const MAX: usize = 16_384;

#[derive(Default)]
pub struct Identities(Bounded<ProcessId, (Instant, Identity), MAX>);

impl Identities {
    /// The identity at most [`AGE`] old; that of the last look where `look` finds the process no more.
    pub fn of(
        &mut self,
        process: ProcessId,
        now: Instant,
        look: impl FnOnce() -> Option<Identity>,
    ) -> Option<&Identity> {
        if self.0.get(&process).is_none_or(|(at, _)| now.duration_since(*at) >= AGE) {
            self.renew(process, now, look);
        }
        self.known(process)
    }

    /// Looks at the process in any case.
    pub fn renew(&mut self, process: ProcessId, now: Instant, look: impl FnOnce() -> Option<Identity>) {
        match (look(), self.0.get_mut(&process)) {
            (Some(identity), _) => {
                self.0.put(process, (now, identity));
            }
            (None, Some((at, _))) => *at = now,
            (None, None) => {}
        }
    }

    pub fn known(&self, process: ProcessId) -> Option<&Identity> {
        self.0.peek(&process).map(|(_, identity)| identity)
    }

    pub fn forget(&mut self, process: ProcessId) {
        self.0.pop(&process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(tgid: u32) -> ProcessId {
        ProcessId { tgid, started_at: 7 }
    }

    fn called(comm: &str) -> Option<Identity> {
        Some(Identity { comm: comm.into(), ..Identity::default() })
    }

    #[test]
    fn a_process_that_becomes_another_program_is_called_so_and_the_dead_keep_their_names() {
        let (mut all, start) = (Identities::default(), Instant::now());
        let mut comm = |after: Duration, look: Option<Identity>| {
            all.of(process(1), start + after, || look).map(|identity| identity.comm.clone())
        };
        let second = Duration::from_secs(1);
        assert_eq!(comm(Duration::ZERO, None), None);
        assert_eq!(comm(second, called("sh")).as_deref(), Some("sh"));
        assert_eq!(comm(second + AGE / 2, called("server")).as_deref(), Some("sh"), "not looked at yet");
        assert_eq!(comm(second + AGE, called("server")).as_deref(), Some("server"));
        assert_eq!(comm(second + 3 * AGE, None).as_deref(), Some("server"), "it has ended");
        all.renew(process(1), start, || called("other"));
        assert_eq!(all.known(process(1)).unwrap().comm, "other");
        all.forget(process(1));
        assert!(all.known(process(1)).is_none());
    }

    #[test]
    fn of_too_many_the_one_that_nobody_asked_about_for_longest_goes() {
        let (mut all, start) = (Identities::default(), Instant::now());
        for tgid in 0..=(MAX as u32) {
            all.of(process(tgid), start + Duration::from_micros(tgid.into()), || called("worker"));
        }
        assert_eq!(all.0.len(), MAX);
        assert!(all.known(process(0)).is_none() && all.known(process(1)).is_some());
    }
}
