//! What the tests need of the host, and where the programs under test are.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a test needs of the host beside root and a kernel with BTF: these tools.
///
/// # Panics
/// When something is missing, in one line: whether the tests on the kernel run at all is decided before they start.
pub fn needs(tools: &[&str]) {
    let missing = missing(tools);
    assert!(missing.is_empty(), "cannot run here: {}; `cargo xtask setup` installs the tools", missing.join(", "));
}

/// Of sockets without descriptors a census of the host writes out only so many.
static ROOM_OF_A_CENSUS: RwLock<()> = RwLock::new(());

/// For tests that leave others no room in a census: while they hold this, none is complete.
pub fn fills_the_census() -> RwLockWriteGuard<'static, ()> {
    ROOM_OF_A_CENSUS.write().unwrap_or_else(PoisonError::into_inner)
}

/// For tests that need a complete census.
pub fn needs_the_whole_census() -> RwLockReadGuard<'static, ()> {
    ROOM_OF_A_CENSUS.read().unwrap_or_else(PoisonError::into_inner)
}

fn missing(tools: &[&str]) -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("not root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing.push("no BTF in /sys/kernel/btf/vmlinux".to_owned());
    }
    for tool in ["ip", "nsenter"].iter().chain(tools) {
        if find_tool(tool).is_none() {
            missing.push(format!("no {tool}"));
        }
    }
    missing
}

/// A program in `PATH`, or where Debian keeps those that are not for everybody.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(postgresql_directories())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// The path of a tool.
///
/// # Panics
/// When it is not there.
pub fn tool(name: &str) -> PathBuf {
    find_tool(name).unwrap_or_else(|| panic!("no {name}"))
}

/// Debian keeps `initdb`, `postgres` and `pgbench` by version.
fn postgresql_directories() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}

/// The released binary, which can do nothing without what all tests on the kernel need.
///
/// # Panics
/// When that is missing, or the binary is not built.
pub fn tlsclose() -> PathBuf {
    needs(&[]);
    built("TLSCLOSE_BIN", "release/tlsclose")
}

/// The C programs, without inlining.
pub fn leaky_c() -> PathBuf {
    built("TLSCLOSE_LEAKY_C", "leaky/c/leaky")
}

/// The C programs, optimised, beside the others.
pub fn leaky_c_optimised() -> PathBuf {
    leaky_c().with_file_name("leaky-o2")
}

/// The C programs, optimised and without frame pointers, beside the others.
pub fn leaky_c_frameless() -> PathBuf {
    leaky_c().with_file_name("leaky-frameless")
}

/// The C programs without shared libraries, beside the others.
pub fn leaky_c_static() -> PathBuf {
    leaky_c().with_file_name("leaky-static")
}

/// A program that is built beside those in C.
///
/// # Panics
/// When it is not.
pub fn beside_leaky_c(name: &str) -> PathBuf {
    let program = leaky_c().with_file_name(name);
    assert!(program.is_file(), "{} is not built: `cargo xtask test` does it", program.display());
    program
}

/// The Rust programs without frame pointers.
///
/// # Panics
/// When they are not built.
pub fn leaky_rust_frameless() -> PathBuf {
    beside_leaky_c("../frameless/release/leaky")
}

/// A TLS client in Rust: `tls-spinning` or `tls-fixed`.
///
/// # Panics
/// When it is not built.
pub fn leaky_tls(name: &str) -> PathBuf {
    beside_leaky_c(&format!("../tls/release/{name}"))
}

/// The Rust programs.
pub fn leaky_rust() -> PathBuf {
    built("TLSCLOSE_LEAKY_RUST", "leaky/release/leaky")
}

fn built(variable: &str, below_target: &str) -> PathBuf {
    let file = env::var_os(variable).map_or_else(
        || {
            let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            target.unwrap_or_else(|| root().join("target")).join(below_target)
        },
        PathBuf::from,
    );
    assert!(file.is_file(), "{} is not built: `cargo xtask test` does it", file.display());
    file
}

/// The first two numbers of the kernel's version.
///
/// # Panics
/// When the release is not what it always was.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().expect("a version"), numbers.next().expect("a version"))
}

/// A TCP port of the loopback that is free now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A command name that no other test of this host has, at most 15 bytes.
pub fn unique_comm() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
