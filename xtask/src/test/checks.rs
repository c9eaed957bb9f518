//! What is checked without running anything of the product.

use std::process::Command;

use anyhow::{Result, bail};

use super::steps::Tests;
use crate::progress::Progress;
use crate::setup::BPF_TARGET;
use crate::tidy;
use crate::toolchain::Toolchain;
use crate::tools;
use crate::workspace;

/// What needs nothing to be built: it fails first.
pub fn at_once(tests: &mut Tests) -> Result<()> {
    const ORDER: &str = "order of the house";
    let mut format = workspace::cargo("fmt");
    format.args(["--all", "--check"]);
    tests.check("format", format)?;

    let checking = Progress::start(ORDER, true);
    let findings = tidy::check(workspace::root())?;
    findings.iter().for_each(|finding| eprintln!("    {finding}"));
    let elapsed = if findings.is_empty() { checking.done() } else { checking.failed() };
    tests.summary.checked(ORDER, findings.is_empty(), elapsed);
    Ok(())
}

/// Licences and sources of what is used.
pub fn dependencies(tests: &mut Tests) -> Result<()> {
    // A build fetches what this host needs; the check reads what other systems would need, too.
    let mut fetch = workspace::cargo("fetch");
    fetch.arg("--locked");
    tests.log.step("fetching the dependencies of all systems", fetch)?;
    let mut deny = Command::new(tools::program("cargo-deny"));
    // The advisories need a database that is fetched with git; this part does not need the net.
    deny.args(["--offline", "check", "licenses", "bans", "sources"]);
    deny.current_dir(workspace::root());
    tests.check("dependencies", deny)
}

/// Of both sides.
pub fn lints(tests: &mut Tests) -> Result<()> {
    let mut lint = workspace::cargo("clippy");
    lint.args(["--workspace", "--exclude", "tlsclose-ebpf", "--all-targets"]);
    lint.args(["--", "-D", "warnings"]);
    tests.check("lints", lint)?;

    let Ok(toolchain) = Toolchain::find(workspace::root(), BPF_TARGET) else {
        bail!("the BPF toolchain went missing during the tests: run 'cargo xtask setup'");
    };
    // Clippy belongs to a compiler: rustup's nightly has one, Debian's compiler for the BPF target has none.
    let (subcommand, what) = match toolchain {
        Toolchain::Nightly { .. } => ("clippy", "lints"),
        Toolchain::Debian { .. } => ("check", "warnings"),
    };
    for (features, object) in [("", "typed"), ("probed", "probed")] {
        let mut warnings = toolchain.cargo(subcommand, BPF_TARGET, &["-Dwarnings"]);
        warnings.args(["--features", features, "--target-dir"]).arg(workspace::target("bpf"));
        warnings.current_dir(workspace::root());
        tests.check(&format!("{what} of the kernel side ({object})"), warnings)?;
    }
    Ok(())
}

/// That they compile; what is linked and run for real is `cargo xtask fuzz`.
///
/// The fuzzer itself, in C++, is named and not built.
pub fn fuzz_targets(tests: &mut Tests) -> Result<()> {
    let mut check = workspace::cargo("check");
    check.args(["--locked", "--bins", "--manifest-path"]).arg(workspace::root().join("fuzz/Cargo.toml"));
    check.env("CARGO_TARGET_DIR", workspace::target("fuzz"));
    check.env("CUSTOM_LIBFUZZER_PATH", workspace::target("fuzz/libFuzzer.a"));
    tests.check("fuzz targets", check)
}
