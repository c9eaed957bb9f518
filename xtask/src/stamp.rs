//! What was built of what: nothing is built again of the same sources, by the same compiler, with the same flags.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;
use crate::workspace;

/// Of one built thing.
pub struct Stamp {
    path: PathBuf,
    now: String,
}

impl Stamp {
    /// Of what these commands make of these sources, files or whole directories. `compiler` prints which it is.
    pub fn of(name: &str, commands: &[&Command], sources: &[PathBuf], compiler: &mut Command) -> Result<Stamp> {
        let mut hasher = DefaultHasher::new();
        for command in commands {
            format!("{command:?}").hash(&mut hasher);
        }
        run::output(compiler)?.hash(&mut hasher);
        for source in sources {
            hash(source, &mut hasher)?;
        }
        let path = workspace::target("leaky/stamps").join(name);
        Ok(Stamp { path, now: format!("{:016x}\n", hasher.finish()) })
    }

    /// Whether all of `built` was made of the same, and is still there.
    pub fn is_current(&self, built: &[PathBuf]) -> bool {
        built.iter().all(|path| path.exists()) && fs::read_to_string(&self.path).is_ok_and(|then| then == self.now)
    }

    /// After everything was built.
    pub fn keep(&self) -> Result<()> {
        let parent = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        fs::write(&self.path, &self.now).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn hash(source: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    source.hash(hasher);
    if source.is_dir() {
        let entries = fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
        let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        below.sort();
        return below.iter().filter(|path| !path.ends_with("target")).try_for_each(|path| hash(path, hasher));
    }
    fs::read(source).with_context(|| format!("cannot read {}", source.display()))?.hash(hasher);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(flags: &str, compiler: &str, source: &Path) -> Stamp {
        let mut build = Command::new("cc");
        build.arg(flags);
        let stamp = Stamp::of("test-of-stamps", &[&build], &[source.to_owned()], Command::new("echo").arg(compiler));
        stamp.expect("a stamp")
    }

    #[test]
    fn what_is_current_has_the_same_source_compiler_and_flags() {
        let directory = workspace::target("tmp/stamps");
        fs::create_dir_all(&directory).expect("a directory");
        let source = directory.join("a.c");
        fs::write(&source, "one").expect("a source");
        let first = stamp("-O1", "12", &directory);
        let built = [source.clone()];
        first.keep().expect("kept");
        assert!(stamp("-O1", "12", &directory).is_current(&built));
        assert!(!stamp("-O2", "12", &directory).is_current(&built));
        assert!(!stamp("-O1", "13", &directory).is_current(&built));
        assert!(!first.is_current(&[directory.join("gone")]));
        fs::write(&source, "two").expect("a source");
        assert!(!stamp("-O1", "12", &directory).is_current(&built));
        fs::remove_file(first.path).expect("no stamp");
    }
}
