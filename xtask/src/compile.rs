//! Building the product, and the programs that leak.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{self, Log};
use crate::workspace;

/// Both sides of tlsclose, released.
pub fn release(log: &mut Log) -> Result<()> {
    let mut build = workspace::cargo("build");
    build.args(["--release", "--package", "tlsclose-agent"]);
    log.step("building tlsclose", build)
}

/// Builds the tests on the kernel, and gives the program that they are.
pub fn on_kernel_tests() -> Result<PathBuf> {
    let mut build = workspace::cargo("test");
    build.args(["--package", "tlsclose-tests", "--test", "on_kernel", "--no-run", "--message-format", "json"]);
    let messages = run::output(&mut build)?;
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut tests = values.filter(|message| message["target"]["name"] == "on_kernel");
    let executable = tests.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executable.context("cargo built no test program")
}

/// Where [`leaky_c`] puts its program.
pub fn leaky_c_program() -> PathBuf {
    workspace::target("leaky/c/leaky")
}

/// Where [`leaky_rust`] puts its program.
pub fn leaky_rust_program() -> PathBuf {
    workspace::target("leaky/release/leaky")
}

/// The program in C that leaks in known ways.
pub fn leaky_c(log: &mut Log) -> Result<()> {
    compile_leaky_c(log, "leaky", &["-O1", "-fno-omit-frame-pointer", "-pie"])
}

/// The same with code paths that the optimiser rearranges, with those that only unwind tables can
/// follow, and for containers with nothing else in them.
pub fn leaky_c_variants(log: &mut Log) -> Result<()> {
    compile_leaky_c(log, "leaky-o2", &["-O2", "-fno-omit-frame-pointer", "-pie"])?;
    compile_leaky_c(log, "leaky-frameless", &["-O2", "-fomit-frame-pointer", "-pie"])?;
    compile_leaky_c(log, "leaky-static", &["-O2", "-fomit-frame-pointer", "-static"])
}

/// The same with musl for its libc, which has no unwind tables.
fn leaky_musl(log: &mut Log) -> Result<()> {
    const LINUX_HEADERS: [&str; 2] = ["-idirafter/usr/include", "-idirafter/usr/include/x86_64-linux-gnu"];
    for (name, flags) in [
        ("leaky-musl", ["-fomit-frame-pointer", "-pie"]),
        ("leaky-musl-framed", ["-fno-omit-frame-pointer", "-pie"]),
        ("leaky-musl-static", ["-fomit-frame-pointer", "-static"]),
        ("leaky-musl-static-framed", ["-fno-omit-frame-pointer", "-static"]),
    ] {
        compile_leaky_c_by(log, "musl-gcc".into(), name, &[&["-O2"], &flags[..], &LINUX_HEADERS].concat())?;
    }
    Ok(())
}

fn compile_leaky_c(log: &mut Log, name: &str, flags: &[&str]) -> Result<()> {
    compile_leaky_c_by(log, env::var_os("CC").unwrap_or("cc".into()), name, flags)
}

fn compile_leaky_c_by(log: &mut Log, compiler: OsString, name: &str, flags: &[&str]) -> Result<()> {
    let directory = workspace::root().join("tests/leaky/c");
    let sources = fs::read_dir(&directory)
        .with_context(|| format!("cannot read the leaking programs in {}", directory.display()))?;
    let mut sources: Vec<PathBuf> = sources
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    if sources.is_empty() {
        bail!("no leaking program in {}", directory.display());
    }
    fs::create_dir_all(workspace::target("leaky/c")).context("cannot create target/leaky/c")?;
    let mut compile = Command::new(compiler);
    compile.args(["-g", "-Wall", "-Wextra", "-fno-optimize-sibling-calls", "-pthread"]).args(flags);
    compile.arg("-o").arg(leaky_c_program().with_file_name(name)).args(&sources).current_dir(workspace::root());
    log.step(&format!("building the leaking program in C as {name}"), compile)
}

/// The one that loads libraries late, and these, with and without frame pointers.
fn leaky_plugin(log: &mut Log) -> Result<()> {
    let compile = |name: &str, flags: &[&str]| {
        let mut compile = Command::new(env::var_os("CC").unwrap_or("cc".into()));
        compile.args(["-g", "-O2", "-Wall", "-Wextra", "-fno-optimize-sibling-calls"]).args(flags);
        compile.arg("-o").arg(leaky_c_program().with_file_name(name)).current_dir(workspace::root());
        compile
    };
    let sources = ["tests/leaky/plugin/main.c", "tests/leaky/c/net.c", "-fno-omit-frame-pointer"];
    log.step("building the leaking program in C that loads a library", compile("leaky-late", &sources))?;
    for (name, frames) in
        [("plugin", "-fno-omit-frame-pointer"), ("frameless", "-fomit-frame-pointer"), ("next", "-fomit-frame-pointer")]
    {
        let mut library = compile(&format!("leaky-{name}.so"), &["-shared", "-fPIC", frames]);
        for function in ["accept", "handle"] {
            library.arg(format!("-Dplugin_{function}={name}_{function}"));
        }
        library.arg("tests/leaky/plugin/plugin.c");
        log.step(&format!("building the library {name}"), library)?;
    }
    Ok(())
}

/// Those in C++, Go and Java, those in C with musl or at other addresses, and what is left of some when their symbols are
/// taken away.
pub fn leaky_others(log: &mut Log) -> Result<()> {
    leaky_musl(log)?;
    leaky_plugin(log)?;
    compile_leaky_c(log, "leaky-fixed", &["-O2", "-fomit-frame-pointer", "-no-pie"])?;
    compile_leaky_c(log, "leaky-static-pie", &["-O2", "-fomit-frame-pointer", "-static-pie"])?;
    let beside = |name| leaky_c_program().with_file_name(name);
    let mut cpp = Command::new(env::var_os("CXX").unwrap_or("c++".into()));
    cpp.args(["-g", "-O2", "-fomit-frame-pointer", "-Wall", "-Wextra", "-Wl,--build-id", "-o"]);
    cpp.arg(beside("leaky-cpp")).arg("tests/leaky/cpp/leaky.cc").current_dir(workspace::root());
    log.step("building the leaking program in C++", cpp)?;
    for (what, program, stripped) in [
        ("--strip-debug", "leaky-frameless", "leaky-symbols"),
        ("--strip-all", "leaky-frameless", "leaky-stripped"),
        ("--strip-all", "leaky-cpp", "leaky-cpp-stripped"),
    ] {
        strip(log, what, &beside(program), &beside(stripped))?;
    }
    for (program, flags) in [("leaky-go", ""), ("leaky-go-stripped", "-s -w")] {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-ldflags", flags, "-o"]).arg(beside(program)).arg("leaky.go");
        go.current_dir(workspace::root().join("tests/leaky/go")).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
        go.env("GOCACHE", workspace::target("leaky/go-cache"));
        log.step("building the leaking program in Go", go)?;
    }
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-o"]).arg(beside("tls-peers-go")).arg("peers.go");
    go.current_dir(workspace::root().join("tests/leaky/go/tls")).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    go.env("GOCACHE", workspace::target("leaky/go-cache"));
    log.step("building the TLS peers in Go", go)?;
    leaky_java(log)
}

/// The one in Java.
fn leaky_java(log: &mut Log) -> Result<()> {
    let mut java = Command::new("javac");
    java.arg("-d").arg(workspace::target("leaky/java")).arg("tests/leaky/java/Leaky.java");
    java.current_dir(workspace::root());
    log.step("building the leaking program in Java", java)
}

/// A TLS client that spins with the rustls it pins, and the same with a later one: packages of their
/// own, so that a version with a known defect stays out of the workspace's lock file.
pub fn leaky_tls(log: &mut Log) -> Result<()> {
    for package in ["spinning", "fixed"] {
        let mut build = workspace::cargo("build");
        build.args(["--release", "--locked", "--manifest-path"]);
        build.arg(workspace::root().join("tests/leaky/tls_spin").join(package).join("Cargo.toml"));
        build.env("CARGO_TARGET_DIR", workspace::target("leaky/tls"));
        log.step(&format!("building the TLS client ({package})"), build)?;
    }
    Ok(())
}

/// Where [`leaky_tls`] puts its programs.
pub fn leaky_tls_programs() -> [PathBuf; 2] {
    ["tls-spinning", "tls-fixed"].map(|name| workspace::target("leaky/tls/release").join(name))
}

/// The programs in Rust that leak in one known way each.
pub fn leaky_rust(log: &mut Log) -> Result<()> {
    let mut build = workspace::cargo("build");
    build.args(["--release", "--package", "tlsclose-leaky"]);
    // A directory of their own: other flags there would rebuild everything here.
    build.env("CARGO_TARGET_DIR", workspace::target("leaky"));
    build.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C force-frame-pointers=yes");
    // Line numbers, as a program has that somebody wants to debug.
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    log.step("building the leaking programs in Rust", build)?;
    // As people build them: without frame pointers.
    let mut build = workspace::cargo("build");
    build.args(["--release", "--package", "tlsclose-leaky"]);
    build.env("CARGO_TARGET_DIR", workspace::target("leaky/frameless"));
    build.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C force-frame-pointers=no");
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    log.step("building the leaking programs in Rust without frame pointers", build)?;
    let program = workspace::target("leaky/frameless/release/leaky");
    strip(log, "--strip-all", &program, &program.with_file_name("leaky-stripped"))
}

fn strip(log: &mut Log, what: &str, program: &Path, stripped: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    strip.arg(what).arg("-o").arg(stripped).arg(program);
    log.step(&format!("stripping {}", program.display()), strip)
}
