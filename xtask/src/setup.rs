//! `cargo xtask setup`: installs what is missing, and is done at once when nothing is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::debian;
use crate::progress;
use crate::run::{self, Log};
use crate::toolchain::{self, Toolchain};
use crate::tools;
use crate::vm::qemu;
use crate::workspace;

/// The target that setup looks for: the host's byte order.
pub const BPF_TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

const COMPILER_PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev-bpf", "gcc", "libc6-dev"];
const VM_PACKAGES: [&str; 5] = ["busybox-static", "cpio", "iproute2", "libc6-dev", "xz-utils"];
const BENCH_PACKAGES: [&str; 7] = ["nginx-light", "openssl", "wrk", "libbpf-tools", "lsof", "iproute2", "bpftool"];

/// Install what is missing to build tlsclose: the BPF compiler and linker.
///
/// On Debian the compiler and LLVM come as packages, and bpf-linker is built into target/tools.
/// Elsewhere, install rustup's nightly with rust-src, and bpf-linker.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Also what the tests need (tests/packages.txt, cargo-deny, cargo-deb, kubernetes-validate, schemas, rotel, a Debian)
    #[arg(long)]
    pub tests: bool,
    /// Also what the benchmarks need (nginx, wrk, tcpstates, lsof)
    #[arg(long)]
    pub bench: bool,
    /// Also what tests on other kernels need (QEMU)
    #[arg(long)]
    pub vm: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let mut log = Log::create(workspace::target("setup.log"))?;
    let has_own_toolchain = matches!(Toolchain::find(workspace::root(), BPF_TARGET), Ok(Toolchain::Nightly { .. }));
    if debian::is_debian() {
        packages(&mut log, options, has_own_toolchain)?;
    } else {
        elsewhere(options)?;
    }
    thread::scope(|scope| {
        // One computes, and the other waits for the net.
        let fetched = options.tests.then(|| scope.spawn(fetch_apart));
        if debian::is_debian() && !has_own_toolchain {
            bpf_linker(&mut log)?;
        }
        if options.tests && !tools::has_cargo_deny() {
            tools::install_cargo_deny(&mut log)?;
        }
        if options.tests && !tools::has_cargo_deb() {
            tools::install_cargo_deb(&mut log)?;
        }
        fetched.map_or(Ok(()), |fetched| fetched.join().map_err(|_| anyhow!("the installing thread panicked"))?)
    })?;
    progress::say("everything needed is installed");
    Ok(())
}

/// What tests need from PyPI, npm and Debian's archive, each in a directory of its own.
fn fetch_apart() -> Result<()> {
    let log = &mut Log::create(workspace::target("apart.log"))?;
    if !tools::has_kubernetes_validate() {
        tools::install_kubernetes_validate(log)?;
    }
    if !tools::has_rotel() {
        tools::install_rotel(log)?;
    }
    if !tools::has_prometheus_operator() {
        tools::install_prometheus_operator(log)?;
    }
    if can_make_root() && !tools::has_debian_root() {
        tools::make_debian_root(log)?;
    }
    Ok(())
}

/// Only root can run what needs it.
fn can_make_root() -> bool {
    debian::is_debian() && rustix::process::geteuid().is_root()
}

/// Of Debian.
fn packages(log: &mut Log, options: &Options, has_own_toolchain: bool) -> Result<()> {
    let mut wanted: Vec<String> = Vec::new();
    if !has_own_toolchain {
        wanted.extend(COMPILER_PACKAGES.map(String::from));
        if toolchain::debian_has(BPF_TARGET) {
            wanted.extend(llvm_packages(tools::debian_llvm()?));
        }
    }
    if options.tests {
        wanted.extend(test_packages()?);
    }
    if options.bench {
        wanted.extend(BENCH_PACKAGES.map(String::from));
    }
    if options.vm {
        wanted.extend(VM_PACKAGES.map(String::from));
    }
    install_missing(log, &wanted)?;
    if options.tests && !tools::has_prometheus_operator() && run::output(Command::new("npm").arg("--version")).is_err()
    {
        install_missing(log, &["npm".to_owned()])?;
    }
    if options.vm && !qemu::is_there() {
        qemu::install(log)?;
    }
    Ok(())
}

/// Built against the LLVM of the compiler.
fn bpf_linker(log: &mut Log) -> Result<()> {
    // The first time, only the compiler that was just installed tells which LLVM it has.
    let llvm = tools::debian_llvm()?;
    install_missing(log, &llvm_packages(llvm))?;
    if !tools::has_bpf_linker(llvm) {
        tools::install_bpf_linker(log, llvm)?;
    }
    Ok(())
}

fn elsewhere(options: &Options) -> Result<()> {
    if let Err(missing) = Toolchain::find(workspace::root(), BPF_TARGET) {
        bail!(
            "{missing}, and this is no Debian: run 'rustup toolchain install nightly --component \
             rust-src' and 'cargo install bpf-linker', then this command again"
        );
    }
    if options.tests || options.bench || options.vm {
        let mut wanted = test_packages()?;
        wanted.extend(BENCH_PACKAGES.map(String::from));
        wanted.extend(VM_PACKAGES.map(String::from));
        wanted.push("qemu".to_owned());
        progress::say(&format!("no Debian: install by hand what is missing of {}", wanted.join(" ")));
    }
    Ok(())
}

fn llvm_packages(llvm: u32) -> [String; 2] {
    [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")]
}

/// `tests/packages.txt`: one package a line, then a comment.
fn test_packages() -> Result<Vec<String>> {
    let path = workspace::root().join("tests/packages.txt");
    let list =
        fs::read_to_string(&path).with_context(|| format!("cannot read the tests' packages in {}", path.display()))?;
    let names = list.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().next().map(str::to_owned)
    });
    Ok(names.collect())
}

fn install_missing(log: &mut Log, wanted: &[String]) -> Result<()> {
    let missing = debian::missing(wanted)?;
    if missing.is_empty() { Ok(()) } else { debian::install(log, &missing) }
}

/// Mounts tracefs where it is not: attaching to a syscall's tracepoint needs it.
pub fn mount_tracefs() -> Result<()> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    if Path::new(TRACEFS).join("events").is_dir() {
        return Ok(());
    }
    let mut mount = Command::new("mount");
    mount.args(["-t", "tracefs", "-o", "nosuid,nodev,noexec", "tracefs", TRACEFS]);
    run::output(&mut mount).with_context(|| format!("tracefs cannot be mounted at {TRACEFS}: run this as root"))?;
    progress::say(&format!("mounted tracefs at {TRACEFS}"));
    Ok(())
}
