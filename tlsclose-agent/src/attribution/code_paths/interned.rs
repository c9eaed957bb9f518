//! Code paths, each kept once.

use std::{collections::HashMap, sync::Arc};

use crate::attribution::modules::CodePlace;
use tlsclose_core::model::PathId;

/// Distinct code paths kept; a host has hundreds.
const MAX_PATHS: usize = 16_384;

type Path = Arc<[CodePlace]>;

#[derive(Default)]
pub struct Interned {
    ids: HashMap<Path, PathId>,
    /// Indexed by `PathId - 1`.
    paths: Vec<Path>,
}

impl Interned {
    pub fn get(&self, id: PathId) -> Option<&[CodePlace]> {
        let index = (id.0 as usize).checked_sub(1)?;
        self.paths.get(index).map(|path| &**path)
    }

    /// None when there are [`MAX_PATHS`] others.
    pub fn id(&mut self, path: &[CodePlace]) -> Option<PathId> {
        if let Some(id) = self.ids.get(path) {
            return Some(*id);
        }
        if self.paths.len() >= MAX_PATHS {
            return None;
        }
        let path: Path = path.into();
        self.paths.push(Arc::clone(&path));
        let id = PathId(self.paths.len() as u32);
        self.ids.insert(path, id);
        Some(id)
    }
}
