//! The names of containers, asked for once and kept.
//!
//! The watch never waits for a runtime: it asks, goes on, and finds the answer at a later census.
//! The thread that waits is started by the first container that is met, and may hang as long as
//! the runtime does.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::cri::{Cri, Names};

/// Containers remembered; those with half-closed sockets are few.
const MAX_CONTAINERS: usize = 4096;
/// Questions that may wait.
const MAX_WAITING: usize = 256;
/// How long names are waited for before a series begins without them.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a runtime may take for one question.
const DEADLINE: Duration = Duration::from_secs(2);
/// When to ask again for what was not known, and how long a runtime that failed is left alone.
const RETRY: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(10);

/// Where runtimes listen, below the root of the host or of the agent's own container.
const SOCKETS: [&str; 5] = [
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "run/cri-dockerd.sock",
    "run/k0s/containerd.sock",
];

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The question is on its way.
    Pending,
    /// No runtime knows it, or none answered.
    Unknown,
    Named(Arc<Names>),
}

#[derive(Debug)]
enum Entry {
    Asked(Instant),
    Unknown(Instant),
    Named(Arc<Names>),
}

type Entries = Arc<Mutex<FxHashMap<String, Entry>>>;

/// Asks runtimes in a thread of its own.
#[derive(Debug)]
pub struct Directory {
    /// As given; else they are looked for.
    socket: Option<PathBuf>,
    procfs: PathBuf,
    entries: Entries,
    questions: Option<SyncSender<String>>,
    deadline: Duration,
}

impl Directory {
    /// Looks for runtimes below `/proc/1/root` of this procfs, so that an agent in a container needs
    /// no mount, and below its own root, unless a socket is given.
    pub fn new(procfs: &Path, socket: Option<PathBuf>) -> Self {
        Self { socket, procfs: procfs.to_owned(), entries: Entries::default(), questions: None, deadline: DEADLINE }
    }

    /// What the container is called. Never waits.
    pub fn lookup(&mut self, id: &str) -> Lookup {
        let now = Instant::now();
        let known = match lock(&self.entries).get(id) {
            Some(Entry::Named(names)) => return Lookup::Named(Arc::clone(names)),
            Some(Entry::Asked(at)) if now.duration_since(*at) < PATIENCE => return Lookup::Pending,
            Some(Entry::Asked(at) | Entry::Unknown(at)) if now.duration_since(*at) < RETRY => return Lookup::Unknown,
            known => known.is_some(),
        };
        let asked = self.ask(id);
        let mut entries = lock(&self.entries);
        if entries.len() >= MAX_CONTAINERS {
            entries.clear();
        }
        // Asked again in vain, it has had its series for long.
        let entry = if asked && !known { Entry::Asked(now) } else { Entry::Unknown(now) };
        let answered = matches!(entries.get(id), Some(Entry::Named(_)));
        if !answered {
            entries.insert(id.to_owned(), entry);
        }
        if asked && !known { Lookup::Pending } else { Lookup::Unknown }
    }

    /// Whether the question will be asked.
    fn ask(&mut self, id: &str) -> bool {
        if self.questions.is_none() {
            let (sender, receiver) = sync_channel(MAX_WAITING);
            let (entries, sources) = (Arc::clone(&self.entries), self.sources());
            let run = move || answer(&receiver, &entries, sources);
            if thread::Builder::new().name("containers".into()).spawn(run).is_err() {
                return false;
            }
            self.questions = Some(sender);
        }
        self.questions.as_ref().is_some_and(|questions| questions.try_send(id.to_owned()).is_ok())
    }

    fn sources(&self) -> Vec<Source> {
        let source = |places: Vec<PathBuf>, wanted| Source { places, wanted, ..Source::new(self.deadline) };
        match &self.socket {
            Some(socket) => vec![source(vec![socket.clone()], true)],
            None => {
                let host = self.procfs.join("1/root");
                let found = |socket: &&str| source(vec![host.join(socket), Path::new("/").join(socket)], false);
                SOCKETS.iter().map(found).collect()
            }
        }
    }
}

fn lock(entries: &Entries) -> std::sync::MutexGuard<'_, FxHashMap<String, Entry>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: answers until nobody asks any more.
fn answer(questions: &Receiver<String>, entries: &Entries, mut sources: Vec<Source>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    while let Ok(id) = questions.recv() {
        let names = runtime.block_on(async {
            for source in &mut sources {
                if let Some(names) = source.names(&id).await {
                    return Some(names);
                }
            }
            None
        });
        let entry = names.map_or_else(|| Entry::Unknown(Instant::now()), |names| Entry::Named(Arc::new(names)));
        lock(entries).insert(id, entry);
    }
}

/// A runtime, which may or may not be there.
struct Source {
    /// Where its socket may be; the first that exists is.
    places: Vec<PathBuf>,
    /// Somebody said that it is there.
    wanted: bool,
    cri: Option<Cri>,
    deadline: Duration,
    resting_until: Option<Instant>,
}

impl Source {
    fn new(deadline: Duration) -> Self {
        Self { places: Vec::new(), wanted: false, cri: None, deadline, resting_until: None }
    }

    async fn names(&mut self, id: &str) -> Option<Names> {
        if self.resting_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        if self.cri.is_none() {
            self.cri = self.places.iter().find(|place| place.exists()).and_then(|place| Cri::new(place));
        }
        let failure = match &mut self.cri {
            None if !self.wanted => return None,
            None => "there is no such socket".to_owned(),
            Some(cri) => match tokio::time::timeout(self.deadline, cri.names(id)).await {
                Ok(Ok(names)) => {
                    self.resting_until = None;
                    return names;
                }
                Ok(Err(status)) => status.message().to_owned(),
                Err(_) => format!("no answer within {:?}", self.deadline),
            },
        };
        if self.resting_until.is_none() {
            let places: Vec<String> = self.places.iter().map(|place| place.display().to_string()).collect();
            log::warn!("{} does not name containers and pods: {failure}", places.join(" or "));
        }
        self.resting_until = Some(Instant::now() + REST);
        None
    }
}

#[cfg(test)]
mod tests;
