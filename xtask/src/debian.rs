//! Debian packages: which are missing, and installing them without starting any service.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{self, Log};

/// Whether this host has Debian's package manager.
pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").is_file() && Path::new("/usr/bin/apt-get").is_file()
}

/// Those of `packages` that are not installed, in the same order.
pub fn missing(packages: &[String]) -> Result<Vec<String>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(packages)
        .output()
        .context("dpkg-query does not start, so the installed packages are not known")?;
    // It fails when it knows nothing of one package, and still answers for the others.
    let answer = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    Ok(packages.iter().filter(|package| !installed.contains(&package.as_str())).cloned().collect())
}

/// Installs `packages`, all of them missing.
pub fn install(log: &mut Log, packages: &[String]) -> Result<()> {
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!(
            "Debian packages are missing and only root can install them: run \
             'sudo apt-get update && sudo apt-get install --no-install-recommends {list}', \
             then this command again"
        );
    }
    log.step("reading Debian's package lists", apt_get(&["update"]))?;
    let _quiet = QuietServices::begin()?;
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends", "--no-remove"]);
    install.args(packages);
    log.step(&format!("installing Debian's {list}"), install)
}

/// Unpacks a package below `place`, and all that it needs and this host lacks. Nothing is installed, and nothing that
/// is stands in the way.
pub fn unpack(log: &mut Log, package: &str, place: &Path) -> Result<()> {
    let staging = place.with_extension("part");
    let _ = fs::remove_dir_all(&staging);
    let archives = staging.join("archives");
    fs::create_dir_all(archives.join("partial")).with_context(|| format!("cannot create {}", archives.display()))?;
    let mut fetch = apt_get(&["install", "--yes", "--no-install-recommends", "--download-only"]);
    fetch.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display()));
    fetch.args(["-o", "APT::Sandbox::User=root", package]);
    log.step(&format!("fetching Debian's {package}"), fetch)?;
    unpack_from(&archives, &staging)?;
    let _ = fs::remove_dir_all(&archives);
    fs::rename(&staging, place).with_context(|| format!("cannot keep {}", place.display()))
}

/// Unpacks the packages that lie in a directory there, and removes them.
pub fn unpack_all(directory: &Path) -> Result<()> {
    unpack_from(directory, directory)
}

fn unpack_from(archives: &Path, place: &Path) -> Result<()> {
    for entry in fs::read_dir(archives).context("cannot read the fetched packages")?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run::output(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(place))?;
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Of an installed package.
pub fn version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Version}", package]);
    run::output(&mut query).ok()?.strip_prefix("installed ").map(|version| version.trim().to_owned())
}

/// Where this host fetches a release from.
pub fn mirror(release: &str) -> Result<String> {
    let format = ["indextargets", "--format", "$(RELEASE) $(REPO_URI)"];
    let targets = run::output(Command::new("apt-get").args(format))?;
    let found = targets.lines().find_map(|line| line.strip_prefix(release)?.strip_prefix(' '));
    match found {
        Some(mirror) => Ok(mirror.to_owned()),
        None => {
            bail!("apt is not set up for {release}: what is fetched of it comes from the mirror that this host uses")
        }
    }
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    apt.args(arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    apt
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While this lives, an installed package does not start its service (invoke-rc.d(8)).
struct QuietServices {
    /// The host's own policy, put aside.
    kept: Option<PathBuf>,
    ours: bool,
}

impl QuietServices {
    fn begin() -> Result<QuietServices> {
        let policy = fs::read_to_string(POLICY).ok();
        if policy.as_ref().is_some_and(|policy| policy.contains("exit 101")) {
            return Ok(QuietServices { kept: None, ours: false });
        }
        let mut quiet = QuietServices { kept: None, ours: false };
        if policy.is_some() {
            let aside = PathBuf::from(format!("{POLICY}.before-tlsclose-setup"));
            fs::rename(POLICY, &aside).with_context(|| format!("cannot put {POLICY} aside for the installation"))?;
            quiet.kept = Some(aside);
        }
        quiet.ours = true;
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {POLICY}, which keeps services from starting"))?;
        Ok(quiet)
    }
}

impl Drop for QuietServices {
    fn drop(&mut self) {
        if self.ours {
            let restored = match &self.kept {
                Some(kept) => fs::rename(kept, POLICY),
                None => fs::remove_file(POLICY),
            };
            if let Err(error) = restored {
                eprintln!("warning: {POLICY} still keeps services from starting: {error}");
            }
        }
    }
}
