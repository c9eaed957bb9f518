//! Tools from crates.io, pinned and installed into `target/tools`, never over the user's own.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::run::{self, Log};
use crate::toolchain::DEBIAN_RUSTC;
use crate::workspace;

/// The LLVM majors that this version of bpf-linker can be built against.
const BPF_LINKER: &str = "0.13.0";
const BPF_LINKER_KNOWS: [u32; 3] = [21, 22, 23];
const CARGO_DENY: &str = "0.20.2";
const CARGO_DEB: &str = "3.8.0";
const KUBERNETES_VALIDATE: &str = "1.31.0";
const PROMETHEUS_OPERATOR: &str = "6.0.0";
const ROTEL: &str = "0.0.1a15";
/// A release of Debian.
const DEBIAN_ROOT: &str = "bookworm";

/// The major version of the LLVM in Debian's rustc.
pub fn debian_llvm() -> Result<u32> {
    let version = run::output(Command::new(DEBIAN_RUSTC).arg("-vV"))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let major = llvm.and_then(|llvm| llvm.split('.').next()).and_then(|major| major.parse().ok());
    let Some(major) = major else {
        bail!("'{DEBIAN_RUSTC} -vV' names no LLVM version, so no bpf-linker can be chosen for it");
    };
    if !BPF_LINKER_KNOWS.contains(&major) {
        bail!(
            "Debian's rustc has LLVM {major} and bpf-linker {BPF_LINKER} knows {BPF_LINKER_KNOWS:?}: \
             raise its version in xtask/src/tools.rs"
        );
    }
    Ok(major)
}

/// Whether the linker of this checkout was built against the LLVM of Debian's rustc.
pub fn has_bpf_linker(llvm: u32) -> bool {
    installed(&format!("bpf-linker {BPF_LINKER} "), &format!("\"llvm-{llvm}\""))
}

/// Builds the linker against the LLVM that wrote the bitcode it will read.
pub fn install_bpf_linker(log: &mut Log, llvm: u32) -> Result<()> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let mut install = cargo_install("bpf-linker", BPF_LINKER);
    install.args(["--force", "--no-default-features", "--features", &format!("llvm-{llvm}")]);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([prefix.join("bin")].into_iter().chain(env::split_paths(&path)))
        .context("PATH cannot be extended by LLVM's directory")?;
    install.env("LLVM_PREFIX", &prefix).env("PATH", path);
    // Its work is LLVM's, which is compiled already.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    log.step(&format!("building bpf-linker {BPF_LINKER} for LLVM {llvm}"), install)
}

pub fn has_cargo_deny() -> bool {
    installed(&format!("cargo-deny {CARGO_DENY} "), "")
}

pub fn install_cargo_deny(log: &mut Log) -> Result<()> {
    log.step(&format!("building cargo-deny {CARGO_DENY}"), small_tool("cargo-deny", CARGO_DENY))
}

pub fn has_cargo_deb() -> bool {
    installed(&format!("cargo-deb {CARGO_DEB} "), "")
}

/// Makes the Debian package.
pub fn install_cargo_deb(log: &mut Log) -> Result<()> {
    log.step(&format!("building cargo-deb {CARGO_DEB}"), small_tool("cargo-deb", CARGO_DEB))
}

/// A tool that runs for a second need not be optimised for minutes.
fn small_tool(name: &str, version: &str) -> Command {
    let mut install = cargo_install(name, version);
    install.arg("--no-default-features");
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    install
}

pub fn has_kubernetes_validate() -> bool {
    apart("kubernetes-validate", KUBERNETES_VALIDATE).join("bin/kubernetes-validate").is_file()
}

/// Holds the schemas of Kubernetes, so that nothing is asked of the network later.
pub fn install_kubernetes_validate(log: &mut Log) -> Result<()> {
    let place = apart("kubernetes-validate", KUBERNETES_VALIDATE);
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(&place);
    log.step("making a place for kubernetes-validate", environment)?;
    let mut install = Command::new(place.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.arg(format!("kubernetes-validate=={KUBERNETES_VALIDATE}"));
    log.step(&format!("installing kubernetes-validate {KUBERNETES_VALIDATE}"), install)
}

pub fn has_prometheus_operator() -> bool {
    apart("prometheus-operator", PROMETHEUS_OPERATOR)
        .join("node_modules/@kubernetes-models/prometheus-operator")
        .is_dir()
}

pub fn has_rotel() -> bool {
    apart("rotel", ROTEL).join("rotel/rotel-agent").is_file()
}

/// A collector of OpenTelemetry, from PyPI: one program, whatever the Python of the host.
pub fn install_rotel(log: &mut Log) -> Result<()> {
    let pip = apart("kubernetes-validate", KUBERNETES_VALIDATE).join("bin/python");
    let mut install = Command::new(pip);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    install.args(["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_34_x86_64", "--upgrade"]);
    install.arg("--target").arg(apart("rotel", ROTEL)).arg(format!("rotel=={ROTEL}"));
    log.step(&format!("installing the OpenTelemetry collector rotel {ROTEL}"), install)
}

/// The schemas of the Prometheus operator's resources, from npm.
pub fn install_prometheus_operator(log: &mut Log) -> Result<()> {
    let place = apart("prometheus-operator", PROMETHEUS_OPERATOR);
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
    install.arg(&place).arg(format!("@kubernetes-models/prometheus-operator@{PROMETHEUS_OPERATOR}"));
    // Node brings certificates of its own; everything else here trusts those of the host.
    if env::var_os("NODE_EXTRA_CA_CERTS").is_none() {
        install.env("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt");
    }
    log.step(&format!("installing the Prometheus operator's schemas {PROMETHEUS_OPERATOR}"), install)
}

pub fn has_debian_root() -> bool {
    apart("debian", DEBIAN_ROOT).is_dir()
}

/// The smallest Debian with systemd, in which the package is installed: 200 MB, in half a minute. Takes root.
pub fn make_debian_root(log: &mut Log) -> Result<()> {
    let place = apart("debian", DEBIAN_ROOT);
    let staging = place.with_extension("part");
    let _ = fs::remove_dir_all(&staging);
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--mode=root", "--variant=minbase", "--include=systemd-sysv", "--format=directory"]);
    make.arg(r#"--customize-hook=rm -rf "$1"/usr/share/doc/* "$1"/usr/share/locale/* "$1"/usr/share/man/*"#);
    make.arg(DEBIAN_ROOT).arg(&staging).arg(debian::mirror(DEBIAN_ROOT)?);
    log.step(&format!("making a Debian ({DEBIAN_ROOT}) to install the package in"), make)?;
    fs::rename(&staging, &place).with_context(|| format!("cannot keep {}", place.display()))
}

/// What comes from PyPI or npm lives in a directory of its own.
fn apart(name: &str, version: &str) -> PathBuf {
    workspace::target("tools").join(format!("{name}-{version}"))
}

/// The program of a tool installed here.
pub fn program(name: &str) -> PathBuf {
    workspace::target("tools/bin").join(name)
}

fn cargo_install(name: &str, version: &str) -> Command {
    let mut install = workspace::cargo("install");
    install.args([name, "--version", version, "--locked", "--root"]);
    install.arg(workspace::target("tools"));
    install.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    install
}

/// Whether cargo's own list of what it installed has a package with a feature.
fn installed(package: &str, feature: &str) -> bool {
    let list = fs::read_to_string(workspace::target("tools/.crates2.json")).unwrap_or_default();
    let entry = list.split_once(&format!("\"{package}")).map(|(_, entry)| entry);
    let entry = entry.and_then(|entry| entry.split('}').next());
    let name = package.split(' ').next().unwrap_or(package);
    entry.is_some_and(|entry| entry.contains(feature)) && program(name).is_file()
}
