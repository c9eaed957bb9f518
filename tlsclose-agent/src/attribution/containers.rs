//! Which container and pod a process is in.

pub mod cgroup;
pub mod cri;
pub mod directory;

use std::path::{Path, PathBuf};

use self::cgroup::NestedContainer;
use self::cri::Names;
use self::directory::{Directory, Lookup};
use tlsclose_core::model::Container;

/// Containers, by what cgroups say and runtimes answer.
pub struct Containers {
    directory: Directory,
}

/// Where a process is.
#[derive(Clone, Debug, PartialEq)]
pub enum Whereabouts {
    /// A runtime has been asked and may still answer; until then, this is what the cgroup says.
    Pending(Container),
    Host,
    In(Container),
}

impl Whereabouts {
    pub fn container(self) -> Option<Container> {
        match self {
            Self::Host => None,
            Self::Pending(container) | Self::In(container) => Some(container),
        }
    }
}

impl Containers {
    pub fn new(procfs: &Path, socket: Option<PathBuf>) -> Self {
        Self { directory: Directory::new(procfs, socket) }
    }

    /// The innermost container that a runtime knows, else the innermost: what runs inside a pod's
    /// container is that pod's. Never waits.
    pub fn of(&mut self, nested: &[NestedContainer]) -> Whereabouts {
        let Some(innermost) = nested.last() else { return Whereabouts::Host };
        let mut here = None;
        let mut pending = false;
        for found in nested.iter().rev().filter(|found| !found.is_named()) {
            match self.directory.lookup(&found.id) {
                Lookup::Named(names) => {
                    here = Some(container(found, &names));
                    break;
                }
                Lookup::Pending => pending = true,
                Lookup::Unknown => {}
            }
        }
        let here = here.unwrap_or_else(|| container(innermost, &Names::default()));
        if pending { Whereabouts::Pending(here) } else { Whereabouts::In(here) }
    }
}

fn container(found: &NestedContainer, names: &Names) -> Container {
    let name = if found.is_named() { &found.id } else { &names.container };
    Container {
        runtime: if names.runtime.is_empty() { found.runtime.name().to_owned() } else { names.runtime.clone() },
        id: found.id.clone(),
        name: name.clone(),
        pod: names.pod.clone(),
        namespace: names.namespace.clone(),
        image: names.image.clone(),
    }
}

#[cfg(test)]
mod tests;
