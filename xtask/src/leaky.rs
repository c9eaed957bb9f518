//! Building the programs that leak: each is built again only when its source, its compiler or its flags have changed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::Log;
use crate::stamp::Stamp;
use crate::workspace;

/// Builds all of them.
pub fn all(log: &mut Log) -> Result<()> {
    [c, c_variants, others, rust, tls].iter().try_for_each(|build| build(log))
}

/// Where [`c`] puts its program.
pub fn c_program() -> PathBuf {
    beside("leaky")
}

/// Where [`rust`] puts its program.
pub fn rust_program() -> PathBuf {
    workspace::target("leaky/release/leaky")
}

/// Where [`tls`] puts its programs.
pub fn tls_programs() -> [PathBuf; 2] {
    ["tls-spinning", "tls-fixed"].map(|name| workspace::target("leaky/tls/release").join(name))
}

fn beside(name: &str) -> PathBuf {
    workspace::target("leaky/c").join(name)
}

/// One thing to build.
struct Recipe {
    /// Of its stamp.
    name: &'static str,
    what: &'static str,
    /// Run in this order.
    steps: Vec<Command>,
    /// Below the root of the checkout.
    sources: &'static [&'static str],
    built: Vec<PathBuf>,
    /// Prints the version of what compiles it.
    compiler: Command,
}

impl Recipe {
    fn make(mut self, log: &mut Log) -> Result<()> {
        let sources: Vec<PathBuf> = self.sources.iter().map(|source| workspace::root().join(source)).collect();
        let commands: Vec<&Command> = self.steps.iter().collect();
        let stamp = Stamp::of(self.name, &commands, &sources, &mut self.compiler)?;
        if stamp.is_current(&self.built) {
            return Ok(());
        }
        for built in self.built.iter().filter_map(|built| built.parent()) {
            fs::create_dir_all(built).with_context(|| format!("cannot create {}", built.display()))?;
        }
        for step in self.steps {
            log.step(&format!("building {}", self.what), step)?;
        }
        stamp.keep()
    }
}

fn version(program: impl Into<OsString>, argument: &str) -> Command {
    let mut version = Command::new(program.into());
    version.arg(argument);
    version
}

fn cc() -> OsString {
    env::var_os("CC").unwrap_or("cc".into())
}

/// The program in C that leaks in known ways.
pub fn c(log: &mut Log) -> Result<()> {
    in_c("leaky", cc(), &["-O1", "-fno-omit-frame-pointer", "-pie"])?.make(log)
}

/// The same with code paths that the optimiser rearranges, with those that only unwind tables can
/// follow, and for containers with nothing else in them.
pub fn c_variants(log: &mut Log) -> Result<()> {
    in_c("leaky-o2", cc(), &["-O2", "-fno-omit-frame-pointer", "-pie"])?.make(log)?;
    in_c("leaky-frameless", cc(), &["-O2", "-fomit-frame-pointer", "-pie"])?.make(log)?;
    in_c("leaky-static", cc(), &["-O2", "-fomit-frame-pointer", "-static"])?.make(log)
}

/// The same with musl for its libc, which has no unwind tables.
fn musl(log: &mut Log) -> Result<()> {
    const LINUX_HEADERS: [&str; 2] = ["-idirafter/usr/include", "-idirafter/usr/include/x86_64-linux-gnu"];
    for (name, flags) in [
        ("leaky-musl", ["-fomit-frame-pointer", "-pie"]),
        ("leaky-musl-framed", ["-fno-omit-frame-pointer", "-pie"]),
        ("leaky-musl-static", ["-fomit-frame-pointer", "-static"]),
        ("leaky-musl-static-framed", ["-fno-omit-frame-pointer", "-static"]),
    ] {
        in_c(name, "musl-gcc".into(), &[&["-O2"], &flags[..], &LINUX_HEADERS].concat())?.make(log)?;
    }
    Ok(())
}

fn in_c(name: &'static str, compiler: OsString, flags: &[&str]) -> Result<Recipe> {
    let directory = workspace::root().join("tests/leaky/c");
    let sources = fs::read_dir(&directory)
        .with_context(|| format!("cannot read the leaking programs in {}", directory.display()))?;
    let sources = sources.flatten().map(|entry| entry.path());
    let mut sources: Vec<PathBuf> =
        sources.filter(|path| path.extension().is_some_and(|extension| extension == "c")).collect();
    sources.sort();
    let mut compile = Command::new(&compiler);
    compile.args(["-g", "-Wall", "-Wextra", "-fno-optimize-sibling-calls", "-pthread"]).args(flags);
    compile.arg("-o").arg(beside(name)).args(&sources).current_dir(workspace::root());
    Ok(Recipe {
        name,
        what: name,
        steps: vec![compile],
        sources: &["tests/leaky/c"],
        built: vec![beside(name)],
        compiler: version(compiler, "--version"),
    })
}

/// The one that loads libraries late, and these, with and without frame pointers.
fn plugin(log: &mut Log) -> Result<()> {
    let compile = |name: &str, flags: &[&str]| {
        let mut compile = Command::new(cc());
        compile.args(["-g", "-O2", "-Wall", "-Wextra", "-fno-optimize-sibling-calls"]).args(flags);
        compile.arg("-o").arg(beside(name)).current_dir(workspace::root());
        compile
    };
    let program = ["tests/leaky/plugin/main.c", "tests/leaky/c/net.c", "-fno-omit-frame-pointer"];
    let mut steps = vec![compile("leaky-late", &program)];
    let mut built = vec![beside("leaky-late")];
    for (name, frames) in
        [("plugin", "-fno-omit-frame-pointer"), ("frameless", "-fomit-frame-pointer"), ("next", "-fomit-frame-pointer")]
    {
        let file = format!("leaky-{name}.so");
        let mut library = compile(&file, &["-shared", "-fPIC", frames]);
        for function in ["accept", "handle"] {
            library.arg(format!("-Dplugin_{function}={name}_{function}"));
        }
        library.arg("tests/leaky/plugin/plugin.c");
        steps.push(library);
        built.push(beside(&file));
    }
    let sources = &["tests/leaky/plugin", "tests/leaky/c"];
    let what = "the leaking program in C that loads libraries";
    Recipe { name: "plugin", what, steps, sources, built, compiler: version(cc(), "--version") }.make(log)
}

/// Those in C++, Go and Java, those in C with musl or at other addresses, and what is left of some when their symbols are
/// taken away.
pub fn others(log: &mut Log) -> Result<()> {
    musl(log)?;
    plugin(log)?;
    in_c("leaky-fixed", cc(), &["-O2", "-fomit-frame-pointer", "-no-pie"])?.make(log)?;
    in_c("leaky-static-pie", cc(), &["-O2", "-fomit-frame-pointer", "-static-pie"])?.make(log)?;
    cpp(log)?;
    stripped(log)?;
    go(log)?;
    java(log)
}

fn cpp(log: &mut Log) -> Result<()> {
    let compiler = env::var_os("CXX").unwrap_or("c++".into());
    let mut cpp = Command::new(&compiler);
    cpp.args(["-g", "-O2", "-fomit-frame-pointer", "-Wall", "-Wextra", "-Wl,--build-id", "-o"]);
    cpp.arg(beside("leaky-cpp")).arg("tests/leaky/cpp/leaky.cc").current_dir(workspace::root());
    let recipe = Recipe {
        name: "cpp",
        what: "the leaking program in C++",
        steps: vec![cpp, strip("--strip-all", "leaky-cpp", "leaky-cpp-stripped")],
        sources: &["tests/leaky/cpp"],
        built: vec![beside("leaky-cpp"), beside("leaky-cpp-stripped")],
        compiler: version(compiler, "--version"),
    };
    recipe.make(log)
}

/// After [`c_variants`], which it takes the symbols from.
fn stripped(log: &mut Log) -> Result<()> {
    let recipe = Recipe {
        name: "stripped",
        what: "the leaking program in C without its symbols",
        steps: vec![
            strip("--strip-debug", "leaky-frameless", "leaky-symbols"),
            strip("--strip-all", "leaky-frameless", "leaky-stripped"),
        ],
        sources: &["target/leaky/c/leaky-frameless"],
        built: vec![beside("leaky-symbols"), beside("leaky-stripped")],
        compiler: version("strip", "--version"),
    };
    recipe.make(log)
}

fn go(log: &mut Log) -> Result<()> {
    let build = |directory: &str, program: &str, source: &str, flags: &str| {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-ldflags", flags, "-o"]).arg(beside(program)).arg(source);
        go.current_dir(workspace::root().join(directory)).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
        go.env("GOCACHE", workspace::target("leaky/go-cache"));
        go
    };
    let recipe = Recipe {
        name: "go",
        what: "the leaking programs in Go",
        steps: vec![
            build("tests/leaky/go", "leaky-go", "leaky.go", ""),
            build("tests/leaky/go", "leaky-go-stripped", "leaky.go", "-s -w"),
            build("tests/leaky/go/tls", "tls-peers-go", "peers.go", ""),
        ],
        sources: &["tests/leaky/go"],
        built: ["leaky-go", "leaky-go-stripped", "tls-peers-go"].map(beside).into(),
        compiler: version("go", "version"),
    };
    recipe.make(log)
}

fn java(log: &mut Log) -> Result<()> {
    let classes = workspace::target("leaky/java");
    let mut java = Command::new("javac");
    java.arg("-d").arg(&classes).arg("tests/leaky/java/Leaky.java").current_dir(workspace::root());
    let recipe = Recipe {
        name: "java",
        what: "the leaking program in Java",
        steps: vec![java],
        sources: &["tests/leaky/java"],
        built: vec![classes.join("Leaky.class")],
        compiler: version("javac", "-version"),
    };
    recipe.make(log)
}

/// A TLS client that spins with the rustls it pins, and the same with a later one: packages of their
/// own, so that a version with a known defect stays out of the workspace's lock file.
pub fn tls(log: &mut Log) -> Result<()> {
    let build = |package: &str| {
        let mut build = workspace::cargo("build");
        build.args(["--release", "--locked", "--manifest-path"]);
        build.arg(workspace::root().join("tests/leaky/tls_spin").join(package).join("Cargo.toml"));
        build.env("CARGO_TARGET_DIR", workspace::target("leaky/tls"));
        build
    };
    let recipe = Recipe {
        name: "tls",
        what: "the TLS clients",
        steps: ["spinning", "fixed"].map(build).into(),
        sources: &["tests/leaky/tls_spin"],
        built: tls_programs().into(),
        compiler: version("rustc", "-vV"),
    };
    recipe.make(log)
}

/// The programs in Rust that leak in one known way each; as people debug them, and as people build them: without frame
/// pointers, and without symbols.
pub fn rust(log: &mut Log) -> Result<()> {
    let build = |directory: &str, flags: &str| {
        let mut build = workspace::cargo("build");
        build.args(["--release", "--package", "tlsclose-leaky"]);
        // A directory of their own: other flags there would rebuild everything here.
        build.env("CARGO_TARGET_DIR", workspace::target(directory));
        build.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", flags);
        // Line numbers, as a program has that somebody wants to debug.
        build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_PROFILE_RELEASE_STRIP", "none");
        build
    };
    let frameless = workspace::target("leaky/frameless/release/leaky");
    let stripped = frameless.with_file_name("leaky-stripped");
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(&stripped).arg(&frameless);
    let recipe = Recipe {
        name: "rust",
        what: "the leaking programs in Rust",
        steps: vec![
            build("leaky", "-C force-frame-pointers=yes"),
            build("leaky/frameless", "-C force-frame-pointers=no"),
            strip,
        ],
        sources: &["tests/leaky/rust", "Cargo.toml", "Cargo.lock"],
        built: vec![rust_program(), frameless, stripped],
        compiler: version("rustc", "-vV"),
    };
    recipe.make(log)
}

fn strip(what: &str, program: &str, stripped: &str) -> Command {
    let mut strip = Command::new("strip");
    strip.arg(what).arg("-o").arg(beside(stripped)).arg(beside(program));
    strip
}
