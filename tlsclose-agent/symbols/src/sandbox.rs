//! What the helper cannot do any more even if a hostile file makes it run somebody else's code:
//! open files, reach the network, start programs, make memory executable, look at other processes.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// CPU time, in seconds: each request has a deadline, this is for a helper that nobody watches.
pub const CPU_SECONDS: u64 = 600;

/// Denies all files but those without a name (the sealed copies), TCP, and signals to others, as
/// far as this kernel knows how (Landlock, since 5.13). Returns whether it does anything.
pub fn deny_files() -> io::Result<bool> {
    let abi = ABI::V6;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|set| set.handle_access(AccessNet::from_all(abi)))
        .and_then(|set| set.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Lets through what parsing needs; everything else fails with EPERM. To be called last.
pub fn deny_system_calls() -> io::Result<()> {
    let Ok(architecture) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let allowed = ALLOWED.iter().chain(ALLOWED_TO_OLD_LIBRARIES);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = allowed.map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![not_executable().map_err(io::Error::other)?]);
    }
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture).map_err(io::Error::other)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Argument 2 (`prot`) is without PROT_EXEC.
fn not_executable() -> Result<SeccompRule, seccompiler::BackendError> {
    let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    SeccompRule::new(vec![SeccompCondition::new(2, SeccompCmpArgLen::Dword, executable, 0)?])
}

/// Memory, the socket, reading what is open, `/proc/self/fd/N`, ending.
const ALLOWED: [i64; 38] = [
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sched_getaffinity,
    libc::SYS_restart_syscall,
];

/// The same by the calls that C libraries made before they made those: glibc did up to 2.32.
#[cfg(target_arch = "x86_64")]
const ALLOWED_TO_OLD_LIBRARIES: &[i64] = &[libc::SYS_lstat, libc::SYS_open, libc::SYS_readlink, libc::SYS_stat];
/// It never had others.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_TO_OLD_LIBRARIES: &[i64] = &[];
