//! The agent's hooks, held beyond its end, to be attached and detached in the midst of a load.

use std::fs;
use std::thread;

use anyhow::{Context, Result, bail};
use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::trace_point::TracePointLink;
use aya::programs::{BtfTracePoint, ProgramError, ProgramInfo, TracePoint, loaded_programs};

use super::process;

const SYSTEM_CALLS: &str = "/sys/kernel/tracing/events/syscalls";
/// `BPF_OBJ_NAME_LEN` without the zero at its end.
const NAME: usize = 15;

/// Programs that the kernel runs while they are attached.
pub struct Hooks(Vec<Hook>);

/// Some of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// Those at the begin of system calls.
    Entries,
    /// Those at the end of system calls.
    Exits,
    /// Those at what happens to sockets and processes.
    Others,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::All, Part::Entries, Part::Exits, Part::Others];

    pub fn name(self) -> &'static str {
        match self {
            Part::All => "its hooks",
            Part::Entries => "those at the begin of system calls",
            Part::Exits => "those at their end",
            Part::Others => "all others",
        }
    }

    fn has(self, hook: &Hook) -> bool {
        let begins = |at: &str| at.starts_with("sys_enter_");
        match self {
            Part::All => true,
            Part::Entries => matches!(hook, Hook::SystemCall { at, .. } if begins(at)),
            Part::Exits => matches!(hook, Hook::SystemCall { at, .. } if !begins(at)),
            Part::Others => matches!(hook, Hook::Typed(_)),
        }
    }
}

enum Hook {
    /// At a kernel tracepoint, or a function's end: the loaded program knows where.
    Typed(BtfTracePoint),
    /// At the begin or the end of a system call.
    SystemCall { at: String, program: TracePoint },
}

/// Detaches when it is dropped.
pub struct Attached(Vec<Link>);

enum Link {
    Typed(BtfTracePointLink),
    SystemCall(TracePointLink),
}

impl Drop for Attached {
    /// All at once: the kernel waits for each until no processor can be running it.
    fn drop(&mut self) {
        thread::scope(|scope| {
            for link in self.0.drain(..) {
                scope.spawn(move || match link {
                    Link::Typed(link) => drop(link),
                    Link::SystemCall(link) => drop(link),
                });
            }
        });
    }
}

impl Hooks {
    /// What a running agent has attached. Its programs and their maps stay when it ends, detached.
    pub fn of(pid: u32) -> Result<Hooks> {
        let attached = process::attached_programs(pid)?;
        let mut hooks = Vec::new();
        for program in loaded_programs() {
            let info = program.context("cannot list the kernel's BPF programs")?;
            if attached.contains(&u64::from(info.id())) {
                hooks.push(Hook::of(info)?);
            }
        }
        if hooks.is_empty() {
            bail!("the agent has attached no BPF program, so their cost cannot be measured");
        }
        Ok(Hooks(hooks))
    }

    /// Attaches these, until what this returns is dropped.
    pub fn attach(&mut self, part: Part) -> Result<Attached> {
        let hooks = self.0.iter_mut().filter(|hook| part.has(hook));
        let links: Result<_, ProgramError> = hooks.map(Hook::attach).collect();
        Ok(Attached(links.context("a hook of the agent cannot be attached again")?))
    }
}

impl Hook {
    #[allow(unsafe_code, reason = "aya cannot tell by itself what a loaded program of this type is for")]
    fn of(info: ProgramInfo) -> Result<Hook> {
        let name = info.name_as_str().context("a BPF program has no name")?.to_owned();
        let kind = info.program_type();
        let hook = if kind == TracePoint::PROGRAM_TYPE.into() {
            let program = TracePoint::from_program_info(info, name.clone().into())?;
            Hook::SystemCall { at: tracepoint(&name)?, program }
        } else if kind == BtfTracePoint::PROGRAM_TYPE.into() {
            // SAFETY: of this type the agent attaches nothing but what its loaded program says where to attach.
            Hook::Typed(unsafe { BtfTracePoint::from_program_info(info, name.into()) }?)
        } else {
            bail!("{name} is a BPF program of an unknown type");
        };
        Ok(hook)
    }

    fn attach(&mut self) -> Result<Link, ProgramError> {
        Ok(match self {
            Hook::Typed(program) => {
                let link = program.attach()?;
                Link::Typed(program.take_link(link)?)
            }
            Hook::SystemCall { at, program } => {
                let link = program.attach("syscalls", at)?;
                Link::SystemCall(program.take_link(link)?)
            }
        })
    }
}

/// Where `enter_close` is: at `sys_enter_close`. The kernel keeps 15 bytes of a program's name.
fn tracepoint(program: &str) -> Result<String> {
    let begin = format!("sys_{program}");
    if program.len() < NAME {
        return Ok(begin);
    }
    let all = fs::read_dir(SYSTEM_CALLS).with_context(|| format!("cannot read {SYSTEM_CALLS}"))?;
    let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found = names.filter(|name| name.starts_with(&begin)).min();
    found.with_context(|| format!("no tracepoint of this kernel begins with {begin}"))
}
