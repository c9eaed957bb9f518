//! The hooks at system calls: at the functions that do them where the host lets programs attach to
//! functions, else at their tracepoints, which slow every system call of the host.

use aya::{
    Btf as AyaBtf,
    programs::{FEntry, FExit, TracePoint},
};

use super::{
    arch::HERE,
    attach::Programs,
    btf::Btf,
    features::ProbedFeature,
    hook::Hook,
    load_error::{AnyError, LoadError, one_line, refused},
    lockdown,
    options::{CloseCalls, Options},
};

const OPENINGS: [Hook; 3] = [Hook::Accept, Hook::Accept4, Hook::Socket];

/// Calls of close(); the first is what the others add to.
const CLOSES: [Hook; 4] = [Hook::Close, Hook::CloseRange, Hook::Dup2, Hook::Dup3];

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

/// Attaches what sees sockets being opened.
pub(super) fn attach_openings(
    programs: &mut Programs,
    options: &Options,
    functions: Functions,
    btf: &AyaBtf,
) -> Vec<ProbedFeature> {
    let attached = OPENINGS.map(|hook| {
        if hook == Hook::Socket && !options.socket_errors {
            return ProbedFeature::missing(hook, "not wanted");
        }
        attach(programs, hook, functions, btf).unwrap_or_else(|error| ProbedFeature::missing(hook, &one_line(&error)))
    });
    attached.into()
}

/// Attaches what sees calls of close(), if that is wanted and allowed.
pub(super) fn attach_closes(
    programs: &mut Programs,
    options: &Options,
    by_address: bool,
    functions: Functions,
    btf: &AyaBtf,
) -> Result<Vec<ProbedFeature>, LoadError> {
    let mut features = Vec::new();
    for hook in CLOSES.into_iter().filter(|hook| HERE.has_dup2 || *hook != Hook::Dup2) {
        if options.close_calls == CloseCalls::Off {
            features.push(ProbedFeature::missing(hook, "not wanted (--close-calls)"));
            continue;
        }
        let attached = match by_address {
            true => attach(programs, hook, functions, btf),
            false => Err(lockdown::FORBIDDEN.into()),
        };
        match attached {
            Ok(feature) => features.push(feature),
            Err(error) if options.close_calls == CloseCalls::On && hook == CLOSES[0] => {
                return Err(refused(hook.attach_point(), &error));
            }
            Err(error) => features.push(ProbedFeature::missing(hook, &one_line(&error))),
        }
    }
    Ok(features)
}

/// Attaches the program of a system call, which its tracepoint names.
fn attach(programs: &mut Programs, hook: Hook, functions: Functions, btf: &AyaBtf) -> Result<ProbedFeature, AnyError> {
    let tracepoint = hook.attach_point();
    match attach_directly(programs, tracepoint, functions, btf) {
        Ok(function) => {
            let probe = format!("{function}: loaded and attached, in place of {tracepoint}");
            return Ok(ProbedFeature { probe, ..ProbedFeature::attached(hook) });
        }
        Err(error) => log::debug!("{tracepoint} is not attached as a function: {}", one_line(&error)),
    }
    let program: &mut TracePoint = programs.get(tracepoint.trim_start_matches("sys_"))?;
    program.load()?;
    let link = program.attach("syscalls", tracepoint).and_then(|id| program.take_link(id))?;
    programs.keep(link);
    Ok(ProbedFeature::attached(hook))
}

fn attach_directly(
    programs: &mut Programs,
    tracepoint: &str,
    functions: Functions,
    btf: &AyaBtf,
) -> Result<String, AnyError> {
    let at_end = tracepoint.strip_prefix("sys_exit_");
    let call = at_end.or(tracepoint.strip_prefix("sys_enter_")).ok_or("no tracepoint of a system call")?;
    let (name, function) = (format!("direct_{call}"), format!("{}{call}", HERE.system_call_prefix));
    if at_end.is_some() {
        functions.must_end_safely()?;
        let program: &mut FExit = programs.get(&name)?;
        program.load(&function, btf)?;
        let link = program.attach().and_then(|id| program.take_link(id))?;
        programs.keep(link);
        Ok(format!("fexit {function}"))
    } else {
        let program: &mut FEntry = programs.get(&name)?;
        program.load(&function, btf)?;
        let link = program.attach().and_then(|id| program.take_link(id))?;
        programs.keep(link);
        Ok(format!("fentry {function}"))
    }
}
