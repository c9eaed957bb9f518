//! Loads the programs and attaches them, in four steps: what the kernel's types say, how the programs read its memory,
//! the attaching, and what came of it.

use std::path::Path;

use aya::Btf as AyaBtf;
use tlsclose_common::layout::ABSENT;

use super::{
    Kernel,
    attach::Programs,
    btf::{self, Btf},
    census,
    features::ProbedFeature,
    hook::Hook,
    layout::{self, Resolved},
    load_error::{AnyError, LoadError, one_line, refused},
    lockdown, map_prealloc,
    object::{MemoryAccess, Object},
    options::{BTF, Options},
    reads::{self, Place},
    sends, spins,
    system_calls::{self, Functions},
    tls,
};

/// The programs on `tp_btf`, and whether the agent can run without each. They are attached one after the other, tens of
/// milliseconds apart: first that which forgets sockets, so that no fact outlives its socket and is taken for the next one's.
const TRACEPOINTS: [(Hook, bool); 6] = [
    (Hook::DestroySock, true),
    (Hook::SetState, true),
    (Hook::ProcessExit, true),
    (Hook::ProcessExec, true),
    (Hook::ProcessFork, false),
    (Hook::SendReset, false),
];

/// Helpers that all depends on, and since when they are there. Distributions take some into older kernels.
const HELPERS: [(&str, &str); 2] = [("seq_write", "5.8"), ("ringbuf_output", "5.8")];

impl Kernel {
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let loaded = load(options);
        if options.btf == Path::new(BTF) { loaded } else { loaded.map_err(|error| error.with_types_of(&options.btf)) }
    }
}

fn load(options: &Options) -> Result<Kernel, LoadError> {
    let types = Types::check(&options.btf)?;
    let by_address = choose_access(&types)?;
    let attached = Attached::with_best_reads(options, &types, by_address)?;
    let place = attached.place;
    let (mut programs, mut features, send_hook) = attached.with_all(options, &types, by_address)?;
    features.extend(found_fields(&types.resolved));
    lockdown::judge(&mut features, by_address);
    if options.verbose {
        programs.log();
    }
    let mut kernel = Kernel::of(programs, options, features, send_hook)?;
    kernel.check_itself(options, place)?;
    Ok(kernel)
}

/// What this kernel's types say.
struct Types {
    resolved: Resolved,
    access: MemoryAccess,
    allocates: bool,
    place: Place,
    functions: Functions,
    /// Of [`TRACEPOINTS`].
    present: Vec<bool>,
    btf: AyaBtf,
}

impl Types {
    /// Reads them, or names the first thing that the agent cannot do without and this kernel does not have.
    fn check(path: &Path) -> Result<Self, LoadError> {
        let bytes = btf::file::read(path)?;
        let types = Btf::parse(&bytes)?;
        let resolved = layout::resolve(&types)?;
        for (helper, since) in HELPERS {
            if !types.has_helper(helper) {
                return Err(LoadError::NoHelper(helper, since));
            }
        }
        let present = TRACEPOINTS.map(|(hook, _)| types.has_tracepoint(hook.attach_point()));
        for ((hook, is_needed), is_present) in TRACEPOINTS.into_iter().zip(present) {
            if is_needed && !is_present {
                return Err(LoadError::NoTracepoint(hook.attach_point()));
            }
        }
        let (access, allocates) = (MemoryAccess::of(&types), map_prealloc::may_wait(&types));
        let (place, functions) = (Place::of(&types), Functions::of(&types));
        // Both ways of looking at the types need memory.
        drop(types);
        let btf = AyaBtf::parse(&bytes, aya::Endianness::default()).map_err(|error| LoadError::Program {
            what: "the kernel's type information".into(),
            reason: one_line(&error),
        })?;
        Ok(Self { resolved, access, allocates, place, functions, present: present.into(), btf })
    }
}

/// Whether programs may read memory of which only the address is known, which some kernels leave no way without.
fn choose_access(types: &Types) -> Result<bool, LoadError> {
    let by_address = lockdown::is_allowed();
    match (types.access, by_address) {
        (MemoryAccess::Probed(missing), false) => Err(LoadError::LockedDown(missing)),
        _ => Ok(by_address),
    }
}

/// The loaded programs, with the tracepoints and the hook at reads attached.
struct Attached {
    programs: Programs,
    access: MemoryAccess,
    place: Place,
    tracepoints: Vec<ProbedFeature>,
    reads: Result<(), AnyError>,
}

impl Attached {
    /// Where nothing can be attached to the end of a read, a kprobe within it may do, for programs that read with helpers.
    fn with_best_reads(options: &Options, types: &Types, by_address: bool) -> Result<Self, LoadError> {
        let object = Object { options, access: types.access, by_address, allocates: types.allocates, btf: &types.btf };
        let mut attached = Self::of(&object, types)?;
        attached.attach_reads(types.place, types);
        if attached.reads.is_err() && types.place == Place::Exit && by_address && reads::has_probes(types.functions) {
            if types.access == MemoryAccess::Typed {
                // Gone before the other is loaded: the two would take twice the memory.
                drop(attached);
                attached = Self::of(&Object { access: MemoryAccess::AtProbes, ..object }, types)?;
            }
            attached.attach_reads(Place::Probe, types);
        }
        Ok(attached)
    }

    fn of(object: &Object<'_>, types: &Types) -> Result<Self, LoadError> {
        let mut programs = Programs::new(object.load(&types.resolved)?);
        census::load(&mut programs, &types.btf)?;
        let tracepoints = attach_tracepoints(&mut programs, &types.present, &types.btf)?;
        Ok(Self { programs, access: object.access, place: types.place, tracepoints, reads: Ok(()) })
    }

    fn attach_reads(&mut self, place: Place, types: &Types) {
        self.place = place;
        self.reads = reads::attach(&mut self.programs, place, types.functions, &types.btf);
    }

    /// Attaches what is left.
    fn with_all(
        self,
        options: &Options,
        types: &Types,
        by_address: bool,
    ) -> Result<(Programs, Vec<ProbedFeature>, Option<sends::Loaded>), LoadError> {
        let Self { mut programs, access, place, tracepoints, reads } = self;
        let (functions, btf) = (types.functions, &types.btf);
        let mut features = vec![found_unheld(access)];
        features.extend(tracepoints);
        features.push(reads::feature(place, functions, &reads));
        let send_hook = sends::Loaded::load(&mut programs, place, functions, btf);
        features.push(sends::feature(place, &send_hook));
        features.push(tls::feature(&features));
        features.extend(system_calls::attach_openings(&mut programs, options, functions, btf));
        features.extend(system_calls::attach_closes(&mut programs, options, by_address, functions, btf)?);
        features.push(spins::load(&mut programs, btf));
        features.push(ProbedFeature::attached(Hook::Census));
        Ok((programs, features, send_hook.ok()))
    }
}

/// All of [`TRACEPOINTS`] that are `present`.
fn attach_tracepoints(
    programs: &mut Programs,
    present: &[bool],
    btf: &AyaBtf,
) -> Result<Vec<ProbedFeature>, LoadError> {
    let mut features = Vec::new();
    for ((hook, is_needed), is_present) in TRACEPOINTS.into_iter().zip(present) {
        let outcome = match is_present {
            true => programs.attach_tracepoint(hook, btf),
            false => Err("not in this kernel".into()),
        };
        match outcome {
            Ok(()) => features.push(ProbedFeature::attached(hook)),
            Err(error) if is_needed => return Err(refused(hook.attach_point(), &error)),
            Err(error) => features.push(ProbedFeature::missing(hook, &one_line(&error))),
        }
    }
    Ok(features)
}

/// What sockets that no descriptor table shows are looked for with.
fn found_unheld(access: MemoryAccess) -> ProbedFeature {
    match access {
        MemoryAccess::Typed => ProbedFeature::works(Hook::Unheld, "loaded"),
        MemoryAccess::Probed(missing) => {
            ProbedFeature::missing(Hook::Unheld, &format!("this kernel has no BPF helper {missing}"))
        }
        MemoryAccess::AtProbes => {
            ProbedFeature::missing(Hook::Unheld, "not used by the programs that take kprobes for reads")
        }
    }
}

/// What goes by fields that not every kernel has.
fn found_fields(resolved: &Resolved) -> [ProbedFeature; 2] {
    let found = |hook, is_there| match is_there {
        true => ProbedFeature::works(hook, "found"),
        false => ProbedFeature::missing(hook, "not in this kernel"),
    };
    [
        found(Hook::Unanswered, resolved.tcp_retransmits != ABSENT && resolved.tcp_probes_out != ABSENT),
        found(Hook::PythonThreads, resolved.task_thread_pointer != ABSENT),
    ]
}
