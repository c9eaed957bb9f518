//! A thread for calls that may never come back.
//!
//! Opening or reading another process's file may hang for ever (FUSE, a dead NFS server, memory
//! behind userfaultfd). Such a call runs here, under a deadline; a thread that misses it is
//! abandoned and, if its call ever returns, ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// With this many threads hanging no further call is tried until one returns.
pub const ABANDONED_MAX: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// One thread at work, and those that hang.
#[derive(Debug, Default)]
pub struct Worker {
    jobs: Option<Sender<Job>>,
    hanging: Arc<AtomicUsize>,
    /// Calls that missed their deadline, since the start.
    pub timeouts: u64,
    /// Calls that were not tried because too many hang.
    pub refused: u64,
}

/// What a call has come to by now.
#[derive(Debug)]
pub enum Begun<T> {
    Returned(T),
    /// It goes on, in a thread of its own, and counts as hanging until it returns.
    GoesOn(Receiver<T>),
    /// It panicked, or there is no thread for it.
    Failed,
    /// It was not tried, because too many hang.
    Refused,
}

impl Worker {
    /// The result of `call`, or None when it did not return within `deadline`, panicked, or was
    /// not tried.
    pub fn run<T: Send + 'static>(
        &mut self,
        deadline: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self.begin(deadline, call) {
            Begun::Returned(value) => Some(value),
            Begun::GoesOn(result) => {
                self.timeouts += 1;
                result.try_recv().ok()
            }
            Begun::Failed | Begun::Refused => None,
        }
    }

    /// As [`Self::run`]; who still wants the result after `patience` may ask for it again.
    pub fn begin<T: Send + 'static>(
        &mut self,
        patience: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Begun<T> {
        if self.hanging.load(Ordering::Acquire) >= ABANDONED_MAX {
            self.refused += 1;
            return Begun::Refused;
        }
        let (done, result) = channel();
        let over = Over { seen: Arc::default(), hanging: Arc::clone(&self.hanging) };
        let theirs = over.clone();
        let job = Box::new(move || {
            let _over = CallEnded(theirs);
            // Nobody may be waiting any more.
            let _ = done.send(call());
        });
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None => match start() {
                Some(jobs) => jobs,
                None => return Begun::Failed,
            },
        };
        if jobs.send(job).is_err() {
            return Begun::Failed;
        }
        match result.recv_timeout(patience) {
            Ok(value) => {
                self.jobs = Some(jobs);
                Begun::Returned(value)
            }
            // The call panicked, and its thread is gone.
            Err(RecvTimeoutError::Disconnected) => Begun::Failed,
            Err(RecvTimeoutError::Timeout) => {
                self.hanging.fetch_add(1, Ordering::AcqRel);
                over.second_settles();
                Begun::GoesOn(result)
            }
        }
    }

    /// Threads that hang now.
    #[cfg(test)]
    pub fn hanging(&self) -> usize {
        self.hanging.load(Ordering::Acquire)
    }
}

/// The end of a call and the end of the wait for it, whichever comes second: only then is it
/// known that the thread does not hang, if it was counted as hanging.
#[derive(Clone)]
struct Over {
    seen: Arc<AtomicBool>,
    hanging: Arc<AtomicUsize>,
}

impl Over {
    fn second_settles(&self) {
        if self.seen.swap(true, Ordering::AcqRel) {
            self.hanging.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Settles also when the call panics.
struct CallEnded(Over);

impl Drop for CallEnded {
    fn drop(&mut self) {
        self.0.second_settles();
    }
}

fn start() -> Option<Sender<Job>> {
    let (jobs, queue) = channel::<Job>();
    let thread = thread::Builder::new().name("opener".into());
    let run = move || queue.into_iter().for_each(|job| job());
    thread.spawn(run).ok().map(|_| jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_call_that_returns_is_answered() {
        let mut worker = Worker::default();
        assert_eq!(worker.run(LONG, || 1), Some(1));
        assert_eq!(worker.run(LONG, || 2), Some(2));
        assert_eq!(worker.timeouts, 0);
    }

    #[test]
    fn calls_that_hang_are_abandoned_then_refused_and_forgiven_when_they_return() {
        let mut worker = Worker::default();
        let mut locks = Vec::new();
        for _ in 0..ABANDONED_MAX {
            let (unlock, locked) = channel::<()>();
            assert!(worker.run(SHORT, move || locked.recv().is_ok()).is_none());
            locks.push(unlock);
        }
        assert_eq!(worker.timeouts, ABANDONED_MAX as u64);
        assert_eq!(worker.run(LONG, || 1), None);
        assert_eq!(worker.refused, 1);
        drop(locks);
        while worker.hanging() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(worker.run(LONG, || 1), Some(1));
    }

    #[test]
    fn who_does_not_wait_may_ask_again() {
        let mut worker = Worker::default();
        let (unlock, locked) = channel::<()>();
        let Begun::GoesOn(result) = worker.begin(SHORT, move || locked.recv().is_ok()) else { panic!("it is locked") };
        assert_eq!((worker.run(LONG, || 1), worker.hanging(), worker.timeouts), (Some(1), 1, 0));
        unlock.send(()).unwrap();
        assert_eq!(result.recv_timeout(LONG), Ok(true));
        assert!(matches!(worker.begin(LONG, || 2), Begun::Returned(2)));
        assert!(matches!(worker.begin(LONG, || -> u8 { panic!("on purpose") }), Begun::Failed));
    }

    #[test]
    fn a_call_that_panics_costs_only_itself() {
        let mut worker = Worker::default();
        assert_eq!(worker.run(LONG, || -> u8 { panic!("on purpose") }), None);
        assert_eq!(worker.run(LONG, || 1), Some(1));
    }
}
