//! Separate debug files: where distributions and people put them, in the root of the host and in
//! that of a process. Everything here may hang: run it in a worker.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;

use super::open::FILE_MAX;
use crate::attribution::untrusted_file::{self, Requirements};

/// Candidates handed out for one module.
const FOUND_MAX: usize = 4;

/// Where to look for the debug file of one module.
#[derive(Debug)]
pub struct DebugSearch {
    pub(super) roots: Vec<Root>,
    pub(super) paths: Vec<PathBuf>,
}

/// A directory that paths are resolved in; no link leads out of it.
#[derive(Debug)]
pub(super) struct Root {
    pub directory: OwnedFd,
    /// Files of other users do not count: whoever owns a root is not trusted with names for a
    /// library that he shares with others.
    pub owner: Option<u32>,
}

impl DebugSearch {
    /// Regular files that are there, to be compared with the module. With their sizes in bytes.
    pub fn find(&self) -> Vec<(File, u64)> {
        let places = self.roots.iter().flat_map(|root| self.paths.iter().map(move |path| (root, path)));
        places.filter_map(|(root, path)| open(root, path)).take(FOUND_MAX).collect()
    }
}

/// The paths that gdb tries, within a root (its manual, "Debugging Information in Separate Files").
pub(super) fn paths(module: &str, build_id: Option<&str>, link: Option<&str>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some((directory, name)) = build_id.and_then(|id| id.split_at_checked(2))
        && !name.is_empty()
    {
        paths.push(format!("usr/lib/debug/.build-id/{directory}/{name}.debug").into());
    }
    let directory = Path::new(module).parent().and_then(|parent| parent.strip_prefix("/").ok());
    let is_name = |link: &&str| !link.is_empty() && !link.contains('/') && *link != "..";
    if let (Some(directory), Some(link)) = (directory, link.filter(is_name)) {
        paths.push(directory.join(link));
        paths.push(directory.join(".debug").join(link));
        paths.push(Path::new("usr/lib/debug").join(directory).join(link));
    }
    paths
}

fn open(root: &Root, path: &Path) -> Option<(File, u64)> {
    untrusted_file::open(
        &root.directory,
        path,
        Requirements { at_most: FILE_MAX, owner: root.owner, through_link: true },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FileType, Mode, OFlags};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn root(directory: &Path, owner: Option<u32>) -> Root {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Root { directory: rustix::fs::open(directory, flags, Mode::empty()).unwrap(), owner }
    }

    #[test]
    fn debug_files_are_looked_for_where_debuggers_look() {
        let found = paths("/usr/sbin/nginx", Some("7fd93d"), Some("nginx.debug"));
        let expected = [
            "usr/lib/debug/.build-id/7f/d93d.debug",
            "usr/sbin/nginx.debug",
            "usr/sbin/.debug/nginx.debug",
            "usr/lib/debug/usr/sbin/nginx.debug",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn a_link_is_a_name_and_no_path() {
        for link in ["", "..", "/etc/shadow", "../../etc/shadow", "a/b"] {
            assert!(paths("/srv/p", None, Some(link)).is_empty(), "{link}");
        }
        for build_id in ["", "7", "7f"] {
            assert!(paths("[vdso]", Some(build_id), Some("x")).is_empty(), "{build_id}");
        }
    }

    #[test]
    fn traps_are_not_opened_and_no_link_leads_out_of_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
        symlink("/etc/passwd", at("outside")).unwrap();
        fs::create_dir_all(at("etc")).unwrap();
        fs::write(at("real"), "debug").unwrap();
        symlink("/real", at("inside")).unwrap();
        let uid = fs::metadata(at("real")).unwrap().uid();
        let names = ["fifo", "outside", "etc", "missing", "inside"].map(PathBuf::from);
        for (owner, expected) in [(None, 1), (Some(uid), 1), (Some(uid + 1), 0)] {
            let search = DebugSearch { roots: vec![root(directory.path(), owner)], paths: names.to_vec() };
            let found = search.find();
            assert_eq!(found.len(), expected, "{owner:?}");
            assert!(found.iter().all(|(_, size)| *size == 5));
        }
    }
}
