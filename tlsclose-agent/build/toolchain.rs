//! What compiles the kernel side, found by looking at what is installed.
//!
//! One file with two users: `build.rs` builds with the toolchain found here, and
//! `cargo xtask setup` installs until one is found.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's own compiler, of the package `rustc-web`.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler with a `core` for the BPF target, and the linker that turns its bitcode into an
/// object the kernel loads.
#[derive(Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// `rustc-web` with the prebuilt `core` of `libstd-rust-web-dev-bpf`.
    Debian { linker: PathBuf },
    /// rustup's nightly, which builds `core` from `rust-src`.
    Nightly { linker: PathBuf },
}

/// What keeps the kernel side from being built.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    Compiler,
    Linker,
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Missing::Compiler => "no Rust compiler with a core library for BPF",
            Missing::Linker => "no bpf-linker",
        })
    }
}

impl Toolchain {
    /// The toolchain to use for `target`, Debian's first: it needs neither nightly nor a download.
    pub fn find(workspace: &Path, target: &str) -> Result<Toolchain, Missing> {
        let debian = debian_has(target);
        if !debian && !nightly_has_source() {
            return Err(Missing::Compiler);
        }
        let linker = find_linker(workspace).ok_or(Missing::Linker)?;
        Ok(if debian { Toolchain::Debian { linker } } else { Toolchain::Nightly { linker } })
    }

    /// `cargo SUBCOMMAND` for the kernel side, in an environment that says nothing else about
    /// how to compile. `flags` are added to those that every BPF build needs.
    pub fn cargo(&self, subcommand: &str, target: &str, flags: &[&str]) -> Command {
        let mut command = match self {
            Toolchain::Debian { .. } => Command::new(env::var_os("CARGO").unwrap_or("cargo".into())),
            Toolchain::Nightly { .. } => Command::new("rustup"),
        };
        for (name, _) in env::vars_os().filter(|(name, _)| decides_compilation(name)) {
            command.env_remove(name);
        }
        match self {
            // aya-ebpf needs feature(asm_experimental_arch) on this target.
            Toolchain::Debian { .. } => command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg(subcommand),
            Toolchain::Nightly { .. } => command.args(["run", "nightly", "cargo", subcommand, "-Z", "build-std=core"]),
        };
        // Where registers are in pt_regs depends on the machine that loads the programs.
        let machine = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or(env::consts::ARCH.to_owned());
        command.env("AYA_BPF_TARGET_ARCH", machine);
        let mut rustflags = OsString::from("-Clinker=");
        rustflags.push(self.linker());
        // Else filling and copying memory would be calls of functions that go byte by byte.
        let inline = "-Clink-arg=--disable-expand-memcpy-in-order";
        for flag in ["-Cdebuginfo=2", "-Clink-arg=--btf", inline, "-Cpanic=abort"].iter().chain(flags) {
            rustflags.push("\x1f");
            rustflags.push(flag);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", rustflags);
        // bpf-linker does the optimising over all crates; rustc's own LTO would come before it.
        command.args(["--config", "profile.release.lto=false"]);
        command.args(["--release", "--package", "tlsclose-ebpf", "--target", target]);
        command
    }

    fn linker(&self) -> &Path {
        match self {
            Toolchain::Debian { linker } | Toolchain::Nightly { linker } => linker,
        }
    }
}

/// Debian's compiler is there and its sysroot has a `core` for `target`.
pub fn debian_has(target: &str) -> bool {
    output(DEBIAN_RUSTC, &["--print", "sysroot"])
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(target).is_dir())
}

/// rustup's nightly is there, with the source of `core`.
fn nightly_has_source() -> bool {
    output("rustup", &["run", "nightly", "rustc", "--print", "sysroot"])
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file())
}

/// The linker that setup installs for this checkout, else the one on the user's PATH.
fn find_linker(workspace: &Path) -> Option<PathBuf> {
    let own = workspace.join("target/tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(own)
        .chain(env::split_paths(&path))
        .map(|directory| directory.join("bpf-linker"))
        .find(|linker| linker.is_file())
}

/// Variables that cargo and clippy set for build scripts, or that a user set for the host, and
/// that would change how the kernel side is compiled.
fn decides_compilation(name: &OsString) -> bool {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS", // the job server: both builds share the machine's cores
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let Some(name) = name.to_str() else {
        return false;
    };
    let kept = KEPT.iter().any(|kept| name.starts_with(kept));
    (name.starts_with("CARGO_") && !kept)
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTDOC")
        || name == "RUSTFLAGS"
}

/// The trimmed standard output of a command that succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
