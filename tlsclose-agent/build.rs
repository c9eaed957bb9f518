//! Compiles the kernel side, once for each way to read kernel memory, and leaves the objects at
//! `$OUT_DIR/*.bpf.o` for the loader to include.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toolchain::Toolchain;

/// An error given to cargo is one line and fails the build; a failing exit code as well would
/// add a page about this script.
fn main() {
    if let Err(error) = build() {
        println!("cargo::error={error:#}");
    }
}

fn build() -> Result<()> {
    let agent = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = agent.parent().context("the agent's crate is not in a workspace")?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    rerun_when_changed(workspace);

    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let toolchain = match Toolchain::find(workspace, target) {
        Ok(toolchain) => toolchain,
        Err(missing) => bail!("the BPF toolchain is missing ({missing}): run 'cargo xtask setup'"),
    };
    let directory = shared_directory(&out, &variable("TARGET")?);
    // Both objects take the same place there in turn, and another build of the agent may run beside this one.
    let _lock = locked(&directory).with_context(|| format!("{} cannot be locked", directory.display()))?;
    for (features, name) in [("", "typed.bpf.o"), ("probed", "probed.bpf.o")] {
        let status = toolchain
            .cargo("build", target, &[])
            .args(["--features", features, "--target-dir"])
            .arg(&directory)
            .current_dir(workspace)
            .status()
            .context("the compiler of the kernel side does not start")?;
        if !status.success() {
            // Cargo shows the compiler's words only for a script that exits like this.
            std::process::exit(1);
        }
        let object = directory.join(target).join("release/tlsclose-ebpf");
        fs::copy(&object, out.join(name))
            .with_context(|| format!("the kernel side's object {} cannot be copied", object.display()))?;
    }
    Ok(())
}

fn rerun_when_changed(workspace: &Path) {
    for file in [
        "Cargo.lock",
        "Cargo.toml",
        "tlsclose-ebpf/src",
        "tlsclose-ebpf/Cargo.toml",
        "tlsclose-common/src",
        "tlsclose-common/Cargo.toml",
        "tlsclose-agent/build.rs",
        "tlsclose-agent/build",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(file).display());
    }
}

/// Until the file is closed.
fn locked(directory: &Path) -> std::io::Result<File> {
    fs::create_dir_all(directory)?;
    let file = File::create(directory.join("objects.lock"))?;
    file.lock()?;
    Ok(file)
}

/// Where the kernel side is compiled: beside the profiles and targets of the agent, which all share it.
/// Cargo's `out` is `<target directory>/[<target>/]<profile>/build/<package>/out`.
fn shared_directory(out: &Path, target: &str) -> PathBuf {
    let build = out.ancestors().find(|directory| directory.ends_with("build"));
    let profiles = build.and_then(Path::parent).and_then(Path::parent);
    let target_directory = profiles.and_then(|profiles| match profiles.ends_with(target) {
        true => profiles.parent(),
        false => Some(profiles),
    });
    target_directory.unwrap_or(out).join("bpf")
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("cargo did not set {name} for the build script"))
}
