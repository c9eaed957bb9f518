//! Where things are in this checkout.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A path under `target`, where everything goes that git ignores.
pub fn target(path: &str) -> PathBuf {
    root().join("target").join(path)
}

/// The released program.
pub fn program() -> PathBuf {
    target("release/tlsclose")
}

/// `cargo` as it was called for us, at the root, building into `target` whatever is configured.
pub fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.arg(subcommand).current_dir(root()).env("CARGO_TARGET_DIR", target(""));
    cargo.env("CARGO_TERM_COLOR", "never");
    for (name, _) in env::vars_os() {
        // Set for xtask by `cargo run`; rustup's proxy sets its own.
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            cargo.env_remove(name);
        }
    }
    cargo
}
