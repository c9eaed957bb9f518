//! The sites of code paths that closed connections.

use tlsclose_core::{
    closes::sampled_counters::MAX_WAITING,
    model::{
        CodePath, Kind, PathId, Touch,
        site_id::{Trace, site_id},
    },
};

use crate::attribution::bounded::Bounded;

/// Site labels and stacks of the paths that closed, by program.
pub struct ClosingSites {
    kind: Kind,
    known: Bounded<(PathId, String), (String, Touch), MAX_WAITING>,
}

impl ClosingSites {
    pub fn of(kind: Kind) -> Self {
        Self { kind, known: Bounded::default() }
    }

    /// The site of a path, and its stack; None when it says nothing about the cause.
    pub fn site(
        &mut self,
        path: PathId,
        exe: &str,
        call: &str,
        named: impl FnOnce(PathId) -> CodePath,
    ) -> Option<(String, Touch)> {
        let key = (path, exe.to_owned());
        if let Some(known) = self.known.get(&key) {
            return Some(known.clone());
        }
        let closed = named(path);
        let site = site_id(self.kind, exe, Trace::default(), Trace::from(&closed))?;
        let CodePath { frames: stack, whole } = closed;
        let touch = Touch { call: call.to_owned(), result: None, seconds_ago: None, whole, stack };
        self.known.put(key, (site.clone(), touch.clone()));
        Some((site, touch))
    }
}
