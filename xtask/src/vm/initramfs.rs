//! The guest's only file system: the released program, the tests and what both need.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::leaky;
use crate::run::{self, Log};
use crate::workspace;

/// Tools that the tests call; busybox stands in for what is not here.
const TOOLS: [&str; 7] = [
    "/usr/sbin/ip",
    "/usr/bin/ss",
    "/usr/bin/nsenter",
    "/usr/bin/unshare",
    "/usr/bin/setpriv",
    "/bin/mount",
    "/usr/sbin/bpftool",
];

/// Its standard library lies in `/usr/lib`, in a directory that is named as the program itself is.
const PYTHON: &str = "/usr/bin/python3";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";

/// Packs everything; files keep the paths that they have here, which the tests are compiled with.
/// Modules are files of the kernel with this release, in the order in which they are loaded.
pub fn make(log: &mut Log, directory: &Path, tests: &Path, modules: &[(String, PathBuf)]) -> Result<PathBuf> {
    let root = directory.join("root");
    let _ = fs::remove_dir_all(&root);
    for part in ["applets", "bin", "proc", "sys", "dev", "tmp", "run", "root", "etc", "var"] {
        fs::create_dir_all(root.join(part)).with_context(|| format!("cannot create {}", root.join(part).display()))?;
    }
    let mut programs = vec![workspace::program(), tests.to_owned(), leaky::rust_program()];
    let c_programs = workspace::target("leaky/c");
    programs.extend(files_in(&c_programs)?);
    programs.extend(leaky::tls_programs());
    programs.extend(TOOLS.map(PathBuf::from));
    programs.push(PYTHON.into());
    let modules_of_python = python_library()?;
    let is_binary = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "so");
    let mut libraries = BTreeSet::new();
    for program in programs.iter().chain(modules_of_python.iter().filter(is_binary)) {
        libraries.extend(libraries_of(program)?);
    }
    for file in programs.iter().chain(&libraries) {
        copy(file, &root)?;
    }
    for directory in ["tests/leaky", "tests/data", "deploy/systemd"] {
        for file in files_below(&workspace::root().join(directory))? {
            copy(&file, &root)?;
        }
    }
    for module in &modules_of_python {
        copy(module, &root)?;
    }
    for (position, (release, module)) in modules.iter().enumerate() {
        unpack(module, &root.join("modules").join(release), position)?;
    }
    copy(Path::new("/bin/busybox"), &root)?;
    symlink("busybox", root.join("bin/sh")).context("no sh in the guest")?;
    fs::write(root.join("etc/passwd"), PASSWD).context("no users in the guest")?;
    let init = root.join("init");
    fs::write(&init, include_str!("init.sh")).context("no init in the guest")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("init cannot be run")?;

    let archive = directory.join("initramfs.cpio");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio --create --format=newc --quiet > \"$0\""]).arg(&archive).current_dir(&root);
    log.step("packing the guest's files", pack)?;
    Ok(archive)
}

fn python_library() -> Result<Vec<PathBuf>> {
    let program = fs::canonicalize(PYTHON).with_context(|| format!("no {PYTHON}"))?;
    let library = Path::new("/usr/lib").join(program.file_name().unwrap_or_default());
    let is_needed = |path: &PathBuf| !path.components().any(|part| part.as_os_str() == "__pycache__");
    Ok(files_below(&library)?.into_iter().filter(is_needed).collect())
}

/// The shared libraries of a program, with its interpreter; none of a static one, or of one with another libc than
/// this host's, which no guest runs.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd does not start")?;
    if !output.status.success() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.map(PathBuf::from).collect())
}

fn copy(file: &Path, root: &Path) -> Result<()> {
    let below = file.strip_prefix("/").unwrap_or(file);
    let to = root.join(below);
    let parent = to.parent().unwrap_or(root);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::copy(file, &to).with_context(|| format!("cannot copy {} for the guest", file.display()))?;
    Ok(())
}

/// A kernel module, decompressed: not every kernel can do that.
fn unpack(module: &Path, directory: &Path, position: usize) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let name = module.file_name().unwrap_or_default().to_string_lossy();
    let to = directory.join(format!("{position:03}-{name}"));
    fs::copy(module, &to).with_context(|| format!("cannot copy {} for the guest", module.display()))?;
    if to.extension().is_some_and(|extension| extension == "xz") {
        run::output(Command::new("xz").args(["--decompress", "--force"]).arg(&to))?;
    }
    Ok(())
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let found = run::output(Command::new("find").arg(directory).args(["-type", "f"]))?;
    Ok(found.lines().map(PathBuf::from).collect())
}
