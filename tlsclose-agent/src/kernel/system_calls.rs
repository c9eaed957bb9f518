//! The hooks at system calls: at the functions that do them where the host lets programs attach to
//! functions, else at their tracepoints, which slow every system call of the host.

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{FEntry, FExit, TracePoint},
};

use super::{
    arch::HERE,
    btf::Btf,
    features::Feature,
    load_error::{AnyError, one_line},
    object::program,
};

pub(super) const OPENINGS: [&str; 3] = ["sys_exit_accept", "sys_exit_accept4", "sys_exit_socket"];

/// Calls of close(); the first is what the others add to.
pub(super) const CLOSES: [&str; 4] = ["sys_enter_close", "sys_enter_close_range", DUP2, "sys_enter_dup3"];
pub(super) const DUP2: &str = "sys_enter_dup2";

/// How programs may be attached to functions of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Functions {
    /// The code through which a program runs at the end of a function stays while a task sleeps in
    /// that function (5.12; in later releases of 5.10 too: kernel/bpf/trampoline.c). Else the task would
    /// return into freed memory.
    pub ends_are_safe: bool,
    /// What a read calls before it returns (`read_probe`).
    pub after_read: Option<&'static str>,
}

/// The later one first: the other may be a part of its callers then.
const AFTER_READ: [&str; 2] = ["__tcp_cleanup_rbuf", "tcp_cleanup_rbuf"];

impl Functions {
    pub fn of(btf: &Btf) -> Self {
        Self {
            ends_are_safe: btf.size("bpf_tramp_image").is_ok(),
            after_read: AFTER_READ.into_iter().find(|name| btf.parameters(name) == Some(2)),
        }
    }

    /// An error that says why no program can run at the end of functions that sleep.
    pub fn must_end_safely(self) -> Result<(), AnyError> {
        match self.ends_are_safe {
            true => Ok(()),
            false => Err("this kernel frees the code of such programs while tasks sleep below them".into()),
        }
    }
}

/// Attaches the program of a system call, named by its tracepoint.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    tracepoint: &str,
    functions: Functions,
    btf: &AyaBtf,
) -> Result<Feature, AnyError> {
    match attach_directly(ebpf, tracepoint, functions, btf) {
        Ok(function) => {
            let probe = format!("{function}: loaded and attached, in place of {tracepoint}");
            return Ok(Feature { probe, ..Feature::attached(tracepoint) });
        }
        Err(error) => log::debug!("{tracepoint} is not attached as a function: {}", one_line(&error)),
    }
    let program: &mut TracePoint = program(ebpf, tracepoint.trim_start_matches("sys_"))?;
    program.load()?;
    program.attach("syscalls", tracepoint)?;
    Ok(Feature::attached(tracepoint))
}

fn attach_directly(ebpf: &mut Ebpf, tracepoint: &str, functions: Functions, btf: &AyaBtf) -> Result<String, AnyError> {
    let at_end = tracepoint.strip_prefix("sys_exit_");
    let call = at_end.or(tracepoint.strip_prefix("sys_enter_")).ok_or("no tracepoint of a system call")?;
    let (name, function) = (format!("direct_{call}"), format!("{}{call}", HERE.system_call_prefix));
    if at_end.is_some() {
        functions.must_end_safely()?;
        let program: &mut FExit = program(ebpf, &name)?;
        program.load(&function, btf)?;
        program.attach()?;
        Ok(format!("fexit {function}"))
    } else {
        let program: &mut FEntry = program(ebpf, &name)?;
        program.load(&function, btf)?;
        program.attach()?;
        Ok(format!("fentry {function}"))
    }
}
