//! Kernels as Debian packages, fetched into `target/vm` past this host's own package lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::{self, mirror};
use crate::run::{self, Log};

/// A kernel, and which packages it is in.
pub struct Kernel {
    pub name: &'static str,
    /// What the names of its packages start with; the rest is the build, of which the newest is taken.
    packages: &'static [&'static str],
    /// As Debian calls it.
    architecture: &'static str,
}

const fn amd64(name: &'static str, packages: &'static [&'static str]) -> Kernel {
    Kernel { name, packages, architecture: "amd64" }
}

/// Those of distributions that many hosts run, and the newest.
pub const KERNELS: [Kernel; 4] = [
    amd64("5.10", &["linux-image-5.10.0-"]),
    amd64("6.1", &["linux-image-6.1.0-"]),
    amd64("6.12", &["linux-image-6.12."]),
    amd64("7.2", &["linux-binary-7.2.", "linux-modules-7.2."]),
];

/// Of which only the types are looked at.
pub const ARM64: Kernel = Kernel { name: "arm64-6.1", packages: &["linux-image-6.1.0-"], architecture: "arm64" };

/// Suites that have them: of the main archive, and of the one for security.
const SUITES: [(&str, &[&str]); 2] = [
    ("bookworm", &["bookworm", "bookworm-updates", "bookworm-backports", "sid"]),
    ("bookworm-security", &["bookworm-security", "bullseye-security"]),
];

/// The bootable image of a kernel, fetched if it is not there yet.
pub fn image(log: &mut Log, directory: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let unpacked = directory.join("kernels").join(kernel.name);
    if let Some(image) = find_image(&unpacked) {
        return Ok(image);
    }
    let apt = Apt::new(directory, kernel.architecture)?;
    log.step("reading the lists of Debian's kernels", apt.command("apt-get", &["--quiet", "update"]))?;
    let staging = unpacked.with_extension("part");
    let _ = fs::remove_dir_all(&staging);
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    for prefix in kernel.packages {
        let package = apt.newest(prefix)?;
        let mut fetch = apt.command("apt-get", &["--quiet", "download", &package]);
        fetch.current_dir(&staging);
        log.step(&format!("fetching {package}"), fetch)?;
    }
    debian::unpack_all(&staging)?;
    fs::rename(&staging, &unpacked).with_context(|| format!("cannot keep {}", unpacked.display()))?;
    find_image(&unpacked).with_context(|| format!("no kernel image in the packages of {}", kernel.name))
}

/// `boot/vmlinuz-*`, or in the modules' directory where newer packages have it.
fn find_image(unpacked: &Path) -> Option<PathBuf> {
    let modules = unpacked.join("usr/lib/modules");
    let versions = fs::read_dir(modules).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut directories: Vec<PathBuf> = versions.collect();
    directories.push(unpacked.join("boot"));
    let files = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    files
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
}

/// What `ss -K` and kernel TLS need of a kernel that has it as modules, below its `kernel` directory and in the order
/// in which they are loaded. Not every kernel has all: what one lacks is built in, or missing.
const MODULES: [&str; 9] = [
    "net/ipv4/inet_diag",
    "net/ipv4/tcp_diag",
    "crypto/crypto_null",
    "crypto/gf128mul",
    "lib/crypto/gf128mul",
    "crypto/ghash-generic",
    "crypto/ctr",
    "crypto/gcm",
    "net/tls/tls",
];

/// Those of all these kernels, in order: the kernel's release, and the file, which may be compressed.
pub fn modules(directory: &Path, kernels: &[&Kernel]) -> Vec<(String, PathBuf)> {
    let mut modules = Vec::new();
    for kernel in kernels {
        let unpacked = directory.join("kernels").join(kernel.name);
        for releases in ["lib/modules", "usr/lib/modules"].map(|below| unpacked.join(below)) {
            for release in fs::read_dir(releases).into_iter().flatten().flatten() {
                let name = release.file_name().to_string_lossy().into_owned();
                let from = release.path().join("kernel");
                let files = MODULES.iter().flat_map(|module| ["ko", "ko.xz"].map(|end| format!("{module}.{end}")));
                let there = files.map(|file| from.join(file)).filter(|file| file.is_file());
                modules.extend(there.map(|file| (name.clone(), file)));
            }
        }
    }
    modules
}

/// apt with lists of its own, from the mirrors that this host uses.
pub struct Apt {
    directory: PathBuf,
    architecture: &'static str,
}

impl Apt {
    /// For packages of one architecture, by Debian's name.
    pub fn new(vm: &Path, architecture: &'static str) -> Result<Apt> {
        let apt = Apt { directory: vm.join(format!("apt-{architecture}")), architecture };
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = apt.directory.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        fs::write(apt.directory.join("status"), "").context("cannot write apt's status")?;
        let mut sources = String::new();
        for (release, suites) in SUITES {
            let mirror = mirror(release)?;
            for suite in suites {
                sources +=
                    &format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n");
            }
        }
        fs::write(apt.directory.join("sources.list"), sources).context("cannot write apt's sources")?;
        let root = apt.directory.display();
        let configuration = format!(
            "Dir::Etc::sourcelist \"{root}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             Dir::State::Lists \"{root}/lists\";\nDir::Cache \"{root}/cache\";\n\
             Dir::State::status \"{root}/status\";\nAcquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n\
             APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n"
        );
        fs::write(apt.directory.join("apt.conf"), configuration).context("cannot write apt's configuration")?;
        Ok(apt)
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).env("LC_ALL", "C.UTF-8").args(arguments);
        command
    }

    /// The newest build among the packages whose names start like this.
    fn newest(&self, prefix: &str) -> Result<String> {
        let flavour = format!("-cloud-{}", self.architecture);
        let pattern = format!("^{}.*{flavour}$", prefix.replace('.', "[.]"));
        let found = run::output(&mut self.command("apt-cache", &["search", "--names-only", &pattern]))?;
        let names = found.lines().filter_map(|line| line.split_whitespace().next());
        let newest = names.max_by_key(|name| numbers(name)).map(str::to_owned);
        newest.with_context(|| format!("Debian's archive has no package {prefix}…{flavour}"))
    }
}

/// The numbers in a name, which order builds as people do.
pub fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_build_is_found_by_its_numbers() {
        let names =
            ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-48-cloud-amd64"];
        assert_eq!(names.into_iter().max_by_key(|name| numbers(name)), Some(names[1]));
    }
}
