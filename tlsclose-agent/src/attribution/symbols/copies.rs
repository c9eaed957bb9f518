//! Copies of modules' files on their way.
//!
//! A large file on a slow disk takes seconds. Who can come again does not wait for it: the copy is
//! made beside, and handed out when it is asked for again.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::attribution::detached_worker::{Begun, Worker};
use crate::attribution::modules::ModuleId;
use crate::attribution::modules::contents::Digest;

/// Files up to this size, libc and most programs, are copied within milliseconds, unless the host is very busy: then,
/// too, they are worth waiting for, because the first stacks of every process need them.
const SMALL: u64 = 16 << 20;
const SMALL_PATIENCE: Duration = Duration::from_millis(500);
/// A file of 50 MiB that is in memory takes no longer.
const LARGE_PATIENCE: Duration = Duration::from_millis(50);

/// For a whole copy, however large and however slow.
pub const COPY_DEADLINE: Duration = Duration::from_secs(30);

/// How long who can come again waits for a copy of a file of this size.
pub fn patience(size: u64) -> Duration {
    if size <= SMALL { SMALL_PATIENCE } else { LARGE_PATIENCE }
}

/// The contents of a file, and their digest. None where it could not be read.
pub type Copied = Option<(OwnedFd, Digest)>;

#[derive(Debug)]
pub enum Made {
    Copy(OwnedFd, Digest),
    /// It is on its way.
    Later,
    /// The file cannot be read, or not in time.
    Never,
    /// Nothing can be read now.
    NotNow,
}

#[derive(Debug)]
struct OnItsWay {
    size: u64,
    begun: Instant,
    result: Receiver<Copied>,
}

#[derive(Debug, Default)]
pub struct Copies {
    on_their_way: HashMap<ModuleId, OnItsWay>,
}

impl Copies {
    /// Bytes of the copies that are on their way.
    pub fn bytes(&self) -> u64 {
        self.on_their_way.values().map(|copy| copy.size).sum()
    }

    pub fn is_on_its_way(&self, module: ModuleId) -> bool {
        self.on_their_way.contains_key(&module)
    }

    /// Begins a copy; waits for it for so long.
    pub fn begin(
        &mut self,
        module: ModuleId,
        size: u64,
        patience: Duration,
        worker: &mut Worker,
        copying: impl FnOnce() -> Copied + Send + 'static,
    ) -> Made {
        match worker.begin(patience, copying) {
            Begun::Returned(copied) => made(copied),
            Begun::GoesOn(result) => {
                self.on_their_way.insert(module, OnItsWay { size, begun: Instant::now(), result });
                Made::Later
            }
            Begun::Failed => Made::Never,
            Begun::Refused => Made::NotNow,
        }
    }

    /// A copy that was begun; waits for it until so long after that.
    pub fn take(&mut self, module: ModuleId, patience: Duration) -> Made {
        let Some(copy) = self.on_their_way.get(&module) else { return Made::Never };
        let result = copy.result.recv_timeout(patience.saturating_sub(copy.begun.elapsed()));
        if matches!(result, Err(RecvTimeoutError::Timeout)) && copy.begun.elapsed() < COPY_DEADLINE {
            return Made::Later;
        }
        self.on_their_way.remove(&module);
        made(result.unwrap_or_default())
    }

    /// Drops what nobody has asked for.
    pub fn tidy(&mut self) {
        self.on_their_way.retain(|_, copy| copy.begun.elapsed() < 2 * COPY_DEADLINE);
    }
}

fn made(copied: Copied) -> Made {
    copied.map_or(Made::Never, |(copy, digest)| Made::Copy(copy, digest))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc::channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(20);
    const MODULE: ModuleId = ModuleId(3);

    fn copied() -> Copied {
        Some((File::open("/dev/null").ok()?.into(), Digest([7; 32])))
    }

    #[test]
    fn a_copy_that_takes_long_is_handed_out_once_it_is_made() {
        let (mut copies, mut worker) = (Copies::default(), Worker::default());
        assert!(matches!(copies.begin(MODULE, 5, LONG, &mut worker, copied), Made::Copy(..)));
        assert!(!copies.is_on_its_way(MODULE));

        let (unlock, locked) = channel::<()>();
        let slow = move || locked.recv().ok().and_then(|()| copied());
        assert!(matches!(copies.begin(MODULE, 5, SHORT, &mut worker, slow), Made::Later));
        assert!(copies.is_on_its_way(MODULE));
        assert_eq!(copies.bytes(), 5);
        assert!(matches!(copies.take(MODULE, Duration::ZERO), Made::Later));
        // Others do not wait for it.
        assert!(matches!(copies.begin(ModuleId(4), 6, LONG, &mut worker, copied), Made::Copy(..)));
        unlock.send(()).unwrap();
        assert!(matches!(copies.take(MODULE, LONG), Made::Copy(_, Digest([7, ..]))));
        assert_eq!(copies.bytes(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_never_made() {
        let (mut copies, mut worker) = (Copies::default(), Worker::default());
        assert!(matches!(copies.begin(MODULE, 5, LONG, &mut worker, || None), Made::Never));
        let (unlock, locked) = channel::<()>();
        let slow = move || locked.recv().ok().and(None);
        assert!(matches!(copies.begin(MODULE, 5, SHORT, &mut worker, slow), Made::Later));
        drop(unlock);
        assert!(matches!(copies.take(MODULE, LONG), Made::Never));
        assert!(matches!(copies.take(MODULE, LONG), Made::Never));
        assert_eq!(copies.bytes(), 0);
    }
}
