//! The sites of code paths that closed connections.

use std::collections::HashMap;

use tlsclose_core::{
    closes::sampled_counters::MAX_WAITING,
    model::{
        CodePath, Kind, PathId, Touch,
        site_id::{Trace, site_id},
    },
};

/// Site labels and stacks of the paths that closed, by program.
pub struct ClosingSites {
    kind: Kind,
    known: HashMap<(PathId, String), (String, Touch)>,
}

impl ClosingSites {
    pub fn of(kind: Kind) -> Self {
        Self { kind, known: HashMap::new() }
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
        if self.known.len() >= MAX_WAITING {
            self.known.clear();
        }
        self.known.insert(key, (site.clone(), touch.clone()));
        Some((site, touch))
    }
}
