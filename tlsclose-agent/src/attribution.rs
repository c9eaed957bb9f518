//! Who holds a socket, and which line of code put it there.
//!
//! Attribution never changes a verdict: whatever fails here costs a name, not a finding.
//! Everything read here belongs to somebody else and may be hostile: processes die or change at
//! any read, files lie about their format, names contain what they like.
//!
//! The rooms, lowest first; none imports from one behind it: [`bounded`],
//! [`untrusted_file`] and [`detached_worker`], [`containers`], [`process`], [`modules`], [`symbols`], [`runtimes`],
//! [`code_paths`], [`naming`], then [`Attribution`] over all of them, and [`closes`], which asks it.
#![forbid(unsafe_code)]

mod bounded;
pub mod closes;
pub mod code_paths;
pub mod containers;
mod detached_worker;
mod kernel_command;
pub mod modules;
pub mod naming;
pub mod process;
pub mod runtimes;
pub mod symbols;
mod untrusted_file;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use tlsclose_common::facts::{Interpreter, PythonFrame, PythonStart, StackHeader};

pub use self::kernel_command::KernelCommand;
use self::{
    code_paths::{
        paths::Paths,
        pending_stacks::{PendingStack, PendingStacks, RawStack},
    },
    containers::{Containers, Whereabouts},
    detached_worker::Worker,
    modules::Modules,
    naming::touch::touch,
    process::{Identity as ProcessIdentity, Procfs, Vitals, identities::Identities},
    runtimes::python::Python,
    symbols::{SoFar, Symbolizer},
};
use tlsclose_core::{
    closes::usual_close::Closes,
    leaks::sites::Described,
    model::{
        CodePath, CommonPath, Container, Frame, Group, PathId, ProcessId, Touch, Workload,
        site_id::{Trace, site_id},
    },
};

/// Code paths shown of many that sockets of a site have in common.
const COMMON_PATHS: usize = 3;

/// How old vitals may be.
const VITALS_AGE: Duration = Duration::from_secs(1);

/// Everything that is known about processes, modules and names.
pub struct Attribution {
    pub procfs: Procfs,
    pub modules: Modules,
    pub symbols: Symbolizer,
    pub paths: Paths,
    pending: PendingStacks,
    pub closes: Closes,
    containers: Containers,
    pub python: Python,
    identities: Identities,
    vitals: HashMap<ProcessId, (Instant, Vitals)>,
    cmdlines: Option<Worker>,
}

impl Attribution {
    pub fn new(procfs: Procfs, containers: Containers, show_cmdline: bool) -> Self {
        Self {
            modules: Modules::new(procfs.clone()),
            procfs,
            symbols: Symbolizer::default(),
            paths: Paths::default(),
            pending: PendingStacks::default(),
            closes: Closes::default(),
            containers,
            python: Python::default(),
            identities: Identities::default(),
            vitals: HashMap::new(),
            cmdlines: show_cmdline.then(Worker::default),
        }
    }

    /// Who the process is; once it has ended, who it was.
    pub fn identity(&mut self, process: ProcessId) -> Option<&ProcessIdentity> {
        let Self { identities, procfs, cmdlines, .. } = self;
        identities.of(process, Instant::now(), || procfs.identity(process, cmdlines.as_mut()))
    }

    /// The same as of now: what it was before may have been another program.
    fn identity_now(&mut self, process: ProcessId) -> Option<&ProcessIdentity> {
        let Self { identities, procfs, cmdlines, .. } = self;
        identities.renew(process, Instant::now(), || procfs.identity(process, cmdlines.as_mut()));
        identities.known(process)
    }

    /// Where the process is; None when it ended unseen. Never waits.
    pub fn whereabouts(&mut self, process: ProcessId) -> Option<Whereabouts> {
        self.identity(process)?;
        Some(self.containers.of(&self.identities.known(process)?.containers))
    }

    /// The container of the process, as far as it is known by now.
    pub fn container(&mut self, process: ProcessId) -> Option<Container> {
        self.whereabouts(process)?.container()
    }

    /// Descriptors and memory of the process, at most a second old.
    pub fn vitals(&mut self, process: ProcessId) -> Option<Vitals> {
        if let Some((read, vitals)) = self.vitals.get(&process)
            && read.elapsed() < VITALS_AGE
        {
            return Some(*vitals);
        }
        let vitals = self.procfs.vitals(process)?;
        self.vitals.insert(process, (Instant::now(), vitals));
        Some(vitals)
    }

    /// The process ended, or runs another program.
    pub fn process_ended(&mut self, process: ProcessId, exec: bool) {
        self.forget_process(process);
        self.vitals.remove(&process);
        if exec {
            self.identities.forget(process);
        }
    }

    /// Drops vitals of processes that nobody asks about any more.
    pub fn tidy(&mut self) {
        self.vitals.retain(|_, (read, _)| read.elapsed() < Duration::from_secs(60));
        self.symbols.idle(Instant::now());
    }

    /// Workload, code paths and site of a group; None when the process was gone before it could
    /// be looked at.
    pub fn describe(&mut self, group: &Group) -> Option<SoFar<Described>> {
        let (comm, exe) = match group.process.is_known() {
            true => self.identity_now(group.process).map(|who| (who.comm.clone(), who.exe.clone()))?,
            false => Default::default(),
        };
        let container = self.container(group.process);
        let SoFar { known: opened, is_pending: opened_pending } = self.path_so_far(group.opened);
        let SoFar { known: touched, is_pending: touched_pending } = self.path_so_far(group.touched);
        let told = if group.kind.touch_tells() { Trace::from(&touched) } else { Trace::default() };
        let site = site_id(group.kind, &exe, Trace::from(&opened), told);
        let build = opened
            .frames
            .iter()
            .chain(&touched.frames)
            .find(|frame| frame.module.as_deref() == Some(&exe))
            .and_then(|frame| frame.build_id.as_ref())
            .map(|id| format!("gnu:{id}"));
        let described = Described {
            identity: Workload::new(comm, container.as_ref()),
            exe,
            site,
            opened: touch(group.opened_call, opened, None),
            touched: touch(group.touched_call, touched, group.read_the_end.then_some(0)),
            build,
        };
        Some(SoFar { known: described, is_pending: opened_pending || touched_pending })
    }

    /// Where sockets that were opened by these paths are closed, as a rule.
    pub fn usual_close(&mut self, opened: impl IntoIterator<Item = PathId>) -> Option<CommonPath> {
        let (path, sockets) = self.closes.usual(opened)?;
        self.path(path).of_sockets(sockets)
    }

    /// The code paths under these keys, as far as they are known: those of most sockets, and these first.
    pub fn common_paths(&mut self, stacks: &BTreeMap<u64, u64>) -> Vec<CommonPath> {
        let mut sockets: BTreeMap<PathId, u64> = BTreeMap::new();
        for (key, count) in stacks {
            if let Some(path) = self.paths.by_key(*key) {
                *sockets.entry(path).or_default() += count;
            }
        }
        let mut paths: Vec<(PathId, u64)> = sockets.into_iter().collect();
        paths.sort_by_key(|(_, sockets)| Reverse(*sockets));
        let shown = paths.into_iter().take(COMMON_PATHS);
        shown.filter_map(|(path, sockets)| self.path(path).of_sockets(sockets)).collect()
    }

    /// Where a socket was opened, by the key that the kernel side gave out; None when it is not known.
    pub fn opening(&mut self, key: u64, call: u8) -> Option<Touch> {
        let path = self.paths.by_key(key)?;
        touch(call, self.path(path), None)
    }

    /// Takes in a stack of native frames.
    pub fn take_in(&mut self, header: &StackHeader, raw: RawStack<'_>) -> Option<KernelCommand> {
        self.take_in_since(header, raw, Instant::now())
    }

    /// Stacks wait for files.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes in the stacks whose files may have been copied meanwhile.
    pub fn take_in_pending(&mut self) -> Vec<KernelCommand> {
        let stacks = self.pending.take();
        let learned = |stack: PendingStack| self.take_in_since(&stack.header, stack.raw(), stack.since);
        let learned = stacks.into_iter().filter_map(learned).collect();
        for process in std::mem::take(&mut self.pending.ended) {
            self.forget_process(process);
        }
        learned
    }

    /// The address space of a process is gone, or another program's now. Stacks that wait are still unwound by what
    /// it had mapped.
    fn forget_process(&mut self, process: ProcessId) {
        if self.pending.has(process) {
            self.paths.keep_as_it_is(process);
            self.pending.ended.push(process);
        } else {
            self.paths.forget_process(process, &self.modules, &mut self.symbols);
        }
    }

    fn take_in_since(&mut self, header: &StackHeader, raw: RawStack<'_>, since: Instant) -> Option<KernelCommand> {
        let SoFar { known: learned, is_pending } = self.of_stack(header, raw);
        if is_pending && self.pending.park(header, raw, since) { None } else { learned }
    }

    fn of_stack(&mut self, header: &StackHeader, raw: RawStack<'_>) -> SoFar<Option<KernelCommand>> {
        let late = self.late_python(header);
        if late.known.is_some() || late.is_pending {
            return late.map(|told| told.map(|(image, how)| KernelCommand::SetInterpreter(image, how)));
        }
        let Self { paths, modules, symbols, .. } = self;
        let learned = match raw {
            RawStack::Frames(frames) => paths.walked(header, frames, modules, symbols),
            RawStack::Copy(bytes) => paths.copied(header, bytes, modules, symbols),
        };
        learned.map(|learned| learned.map(|(key, rule)| KernelCommand::SetLeaf(key, rule)))
    }

    /// Names stacks that wait for the map of a JIT compiler, where one may be read now.
    pub fn name_waiting(&mut self) {
        self.paths.name_waiting(&self.modules, &mut self.symbols);
    }

    /// For a stack of native frames that is to be dropped because its process is CPython: how the
    /// process is to be walked.
    fn late_python(&mut self, header: &StackHeader) -> SoFar<Option<(u64, Interpreter)>> {
        let Some(mapped) = self.paths.look(header, header.pc, &mut self.modules) else { return SoFar::default() };
        self.python.late(header, &mapped, &self.modules, &mut self.symbols)
    }

    /// Takes in a stack of Python frames.
    pub fn python_stack(&mut self, header: &StackHeader, frames: &[PythonFrame]) {
        if let Some(places) = self.python.places(header, frames) {
            self.paths.python(header, &places, &mut self.modules);
        }
    }

    /// A program of Python was started.
    pub fn python_started(&mut self, start: &PythonStart) -> Option<KernelCommand> {
        let (image, interpreter) = self.python.started(start, &mut self.modules, &mut self.symbols)?;
        Some(KernelCommand::SetInterpreter(image, interpreter))
    }

    /// What the kernel side must send again, because it was forgotten here since this was asked last.
    pub fn forgotten(&mut self) -> Vec<KernelCommand> {
        let python = self.python.forgotten();
        let stacks = self.paths.forgotten().into_iter().chain(python.stacks).map(KernelCommand::ForgetStack);
        stacks.chain(python.codes.into_iter().map(KernelCommand::ForgetCode)).collect()
    }

    /// The code path under a key that the kernel side gave out; empty when it is not known.
    pub fn stack_of(&mut self, key: u64) -> Vec<Frame> {
        let path = self.paths.by_key(key).unwrap_or(PathId::NONE);
        self.path(path).frames
    }

    /// A code path with its names.
    pub fn path(&mut self, path: PathId) -> CodePath {
        self.path_so_far(path).known
    }

    fn path_so_far(&mut self, path: PathId) -> SoFar<CodePath> {
        self.paths.named(path, &self.modules, &mut self.symbols, &self.python)
    }
}
