//! Loads the programs and attaches them.

use std::path::{Path, PathBuf};

use aya::{
    Btf as AyaBtf, Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap, RingBuf},
    programs::BtfTracePoint,
};
use aya_log::EbpfLogger;
use tlsclose_common::{
    facts::{
        AbortKey, AbortStackKey, Aborts, BadCloses, CensusCounts, ClosePair, Closer, Control, Durations, EofSpin,
        Interpreter, LeafKey, LeafRule, Suspect, TlsCloseKey, TlsCloses, TlsSocket, TlsStackKey,
    },
    layout::ABSENT,
    limits::HALF_CLOSED_ENTRIES,
};

pub use super::load_error::LoadError;
use super::{
    arch::HERE,
    btf::{self, Btf},
    features::Feature,
    layout,
    load_error::{AnyError, one_line, refused},
    lockdown, map_prealloc,
    object::{Access, Object, program},
    pod::Fact,
    reads::{self, Place},
    ring_drain::RingDrain,
    sends::{self, SendHook},
    spins,
    system_calls::{self, CLOSES, DUP2, Functions, OPENINGS},
    tls,
};

/// Where the kernel shows its own types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What the agent asks of the kernel side.
#[derive(Clone, Debug)]
pub struct Options {
    pub btf: PathBuf,
    /// Entries of the exact map.
    pub max_sockets: u32,
    /// Per CPU.
    pub stacks_per_second: u32,
    /// Per CPU.
    pub copies_per_second: u32,
    /// Send every transition, and keep every socket's owner.
    pub stream: bool,
    /// The census writes out every TCP socket, not only half-closed ones.
    pub census_of_all: bool,
    /// Watch calls of close().
    pub close_calls: CloseCalls,
    /// Print the verifier's log when a program is refused.
    pub verbose: bool,
}

/// Whether to watch calls of close().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseCalls {
    /// Where the host allows it.
    #[default]
    Auto,
    /// Or not start at all.
    On,
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            btf: PathBuf::from(BTF),
            max_sockets: HALF_CLOSED_ENTRIES,
            stacks_per_second: 1000,
            copies_per_second: 100,
            stream: false,
            census_of_all: false,
            close_calls: CloseCalls::Auto,
            verbose: false,
        }
    }
}

/// The loaded and attached programs; dropping it detaches and frees everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    /// Reads what the programs log, when they do.
    pub(super) logger: Option<EbpfLogger<&'static dyn log::Log>>,
    pub(super) census_counts: PerCpuArray<MapData, Fact<CensusCounts>>,
    pub(super) control: Array<MapData, Fact<Control>>,
    pub(super) control_now: Control,
    pub(super) io_uring_met: Array<MapData, u32>,
    pub(super) read_place: Place,
    pub(super) send_hook: Option<SendHook>,
    pub(super) leaves: HashMap<MapData, Fact<LeafKey>, Fact<LeafRule>>,
    pub(super) closes: HashMap<MapData, Fact<ClosePair>, u64>,
    pub(super) python: HashMap<MapData, u64, Fact<Interpreter>>,
    pub(super) python_codes: HashMap<MapData, u64, u32>,
    pub(super) tls_seen: Array<MapData, u64>,
    pub(super) tls_sockets: HashMap<MapData, u64, Fact<TlsSocket>>,
    pub(super) tls_closes: PerCpuHashMap<MapData, Fact<TlsCloseKey>, Fact<TlsCloses>>,
    pub(super) tls_stacks: HashMap<MapData, Fact<TlsStackKey>, u64>,
    pub(super) armed: HashMap<MapData, u32, u32>,
    pub(super) emfile: HashMap<MapData, u32, u64>,
    pub(super) seen: HashMap<MapData, u64, u32>,
    pub(super) transitions: PerCpuArray<MapData, u64>,
    pub(super) durations: PerCpuArray<MapData, Fact<Durations>>,
    pub(super) lost: PerCpuArray<MapData, u64>,
    pub(super) counts: PerCpuArray<MapData, u64>,
    pub(super) closers: HashMap<MapData, u64, Fact<Closer>>,
    pub(super) bad_closes: HashMap<MapData, u32, Fact<BadCloses>>,
    pub(super) close_calls: PerCpuArray<MapData, u64>,
    pub(super) aborts: PerCpuHashMap<MapData, Fact<AbortKey>, Fact<Aborts>>,
    pub(super) abort_stacks: HashMap<MapData, Fact<AbortStackKey>, u64>,
    pub(super) eof_spins: HashMap<MapData, u64, Fact<EofSpin>>,
    pub(super) suspects: HashMap<MapData, u32, Fact<Suspect>>,
    /// Detaches what looked at the last suspects.
    pub(super) detaching: Option<std::thread::JoinHandle<()>>,
    pub(super) max_sockets: u32,
    /// The agent's process in the first PID namespace.
    pub(super) own_tgid: u32,
    pub(super) ring: RingDrain,
    pub(super) stream_ring: RingBuf<MapData>,
    /// What is attached and what is not, and why.
    pub features: Vec<Feature>,
}

/// The programs on `tp_btf`, and whether the agent can run without each. They are attached one after the other, tens of
/// milliseconds apart: first that which forgets sockets, so that no fact outlives its socket and is taken for the next one's.
const TRACEPOINTS: [(&str, &str, bool); 6] = [
    ("destroy_sock", "tcp_destroy_sock", true),
    ("set_state", "inet_sock_set_state", true),
    ("process_exit", "sched_process_exit", true),
    ("process_exec", "sched_process_exec", true),
    ("process_fork", "sched_process_fork", false),
    ("send_reset", "tcp_send_reset", false),
];

/// Helpers that all depends on, and since when they are there. Distributions take some into older kernels.
const HELPERS: [(&str, &str); 2] = [("seq_write", "5.8"), ("ringbuf_output", "5.8")];

/// What sockets that no descriptor table shows are looked for with.
pub(super) const FOR_EACH: &str = "bpf_for_each_map_elem";

/// What tells a thread of a Python process from its others.
pub(super) const THREAD_POINTER: &str = "task_struct.thread.fsbase";

/// What tells connections whose peer is gone.
const UNANSWERED: &str = "icsk_probes_out";

impl Kernel {
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let loaded = Self::load_all(options);
        if options.btf == Path::new(BTF) { loaded } else { loaded.map_err(|error| error.with_types_of(&options.btf)) }
    }

    fn load_all(options: &Options) -> Result<Self, LoadError> {
        let types = btf::file::read(&options.btf)?;
        let btf = Btf::parse(&types)?;
        let resolved = layout::resolve(&btf)?;
        for (helper, since) in HELPERS {
            if !btf.has_helper(helper) {
                return Err(LoadError::NoHelper(helper, since));
            }
        }
        for (_, tracepoint, needed) in TRACEPOINTS {
            if needed && !btf.has_tracepoint(tracepoint) {
                return Err(LoadError::NoTracepoint(tracepoint));
            }
        }
        let present: Vec<bool> = TRACEPOINTS.iter().map(|(_, tracepoint, _)| btf.has_tracepoint(tracepoint)).collect();
        let access = Access::of(&btf);
        let allocates = map_prealloc::may_wait(&btf);
        let place = Place::of(&btf);
        let functions = Functions::of(&btf);
        drop(btf);
        let kernel_btf = AyaBtf::parse(&types, aya::Endianness::default()).map_err(|error| LoadError::Program {
            what: "the kernel's type information".into(),
            reason: one_line(&error),
        })?;
        drop(types);
        let mut features = Vec::new();
        let by_address = lockdown::is_allowed();
        if let (Access::Probed(missing), false) = (access, by_address) {
            return Err(LoadError::LockedDown(missing));
        }
        let object = Object { options, access, by_address, allocates, btf: &kernel_btf };
        let mut ebpf = object.with_census(&resolved)?;
        let mut tracepoints = attach_tracepoints(&mut ebpf, &present, &kernel_btf)?;
        let mut reads = reads::attach(&mut ebpf, place, functions, &kernel_btf);
        let (mut access, mut place) = (access, place);
        if reads.is_err() && place == Place::Exit && by_address && reads::has_probes(functions) {
            place = Place::Probe;
            if access == Access::Typed {
                access = Access::AtProbes;
                ebpf = Object { access, ..object }.with_census(&resolved)?;
                tracepoints = attach_tracepoints(&mut ebpf, &present, &kernel_btf)?;
            }
            reads = reads::attach(&mut ebpf, place, functions, &kernel_btf);
        }
        features.push(match access {
            Access::Typed => Feature { probe: format!("{FOR_EACH}: loaded"), ..Feature::attached(FOR_EACH) },
            Access::Probed(missing) => Feature::missing(FOR_EACH, &format!("this kernel has no BPF helper {missing}")),
            Access::AtProbes => Feature::missing(FOR_EACH, "not used by the programs that take kprobes for reads"),
        });
        features.extend(tracepoints);
        features.push(reads::feature(place, functions, &reads));
        let send_hook = SendHook::load(&mut ebpf, place, functions, &kernel_btf);
        features.push(sends::feature(place, &send_hook));
        features.push(tls::feature(&features));
        for tracepoint in OPENINGS {
            features.push(
                system_calls::attach(&mut ebpf, tracepoint, functions, &kernel_btf)
                    .unwrap_or_else(|error| Feature::missing(tracepoint, &one_line(&error))),
            );
        }
        for tracepoint in CLOSES.into_iter().filter(|tracepoint| HERE.has_dup2 || *tracepoint != DUP2) {
            if options.close_calls == CloseCalls::Off {
                features.push(Feature::missing(tracepoint, "not wanted (--close-calls)"));
                continue;
            }
            let attached = match by_address {
                true => system_calls::attach(&mut ebpf, tracepoint, functions, &kernel_btf),
                false => Err(lockdown::FORBIDDEN.into()),
            };
            match attached {
                Ok(feature) => features.push(feature),
                Err(error) if options.close_calls == CloseCalls::On && tracepoint == CLOSES[0] => {
                    return Err(refused(tracepoint, &error));
                }
                Err(error) => features.push(Feature::missing(tracepoint, &one_line(&error))),
            }
        }
        features.push(match spins::load(&mut ebpf, &kernel_btf) {
            Ok(()) => Feature { probe: format!("{}: loaded", spins::HOOK), ..Feature::attached(spins::HOOK) },
            Err(error) => Feature::missing(spins::HOOK, &one_line(&error)),
        });
        features.push(Feature::attached("iter/task_file"));
        features.push(if resolved.tcp_retransmits == ABSENT || resolved.tcp_probes_out == ABSENT {
            Feature::missing(UNANSWERED, "not in this kernel")
        } else {
            Feature { probe: format!("{UNANSWERED}: found"), ..Feature::attached(UNANSWERED) }
        });
        features.push(if resolved.task_thread_pointer == ABSENT {
            Feature::missing(THREAD_POINTER, "not in this kernel")
        } else {
            Feature { probe: format!("{THREAD_POINTER}: found"), ..Feature::attached(THREAD_POINTER) }
        });
        lockdown::judge(&mut features, by_address);
        let mut kernel = Self::assemble(ebpf, options, features, place, send_hook.ok())?;
        let checked = kernel.check_itself(options)?;
        kernel.features.push(checked);
        Ok(kernel)
    }

    fn assemble(
        mut ebpf: Ebpf,
        options: &Options,
        features: Vec<Feature>,
        read_place: Place,
        send_hook: Option<SendHook>,
    ) -> Result<Self, LoadError> {
        macro_rules! map {
            ($name:literal) => {
                ebpf.take_map($name).ok_or(LoadError::NoMap($name))?.try_into().map_err(|_| LoadError::NoMap($name))?
            };
        }
        let logger = if options.verbose { EbpfLogger::init(&mut ebpf).ok() } else { None };
        let mut kernel = Self {
            logger,
            census_counts: map!("CENSUS"),
            control: map!("CONTROL"),
            control_now: Control {
                any_armed: 0,
                stacks_per_second: options.stacks_per_second,
                agent_tgid: std::process::id(),
                census: 0,
                copies_per_second: options.copies_per_second,
                sees_all: u32::from(sees_all_processes()),
                census_began: 0,
                half_closed: u64::MAX,
                idle_after: 0,
                ticks_per_second: 0,
            },
            io_uring_met: map!("IO_URING_MET"),
            read_place,
            send_hook,
            leaves: map!("LEAVES"),
            closes: map!("CLOSES"),
            python: map!("PYTHON"),
            python_codes: map!("PYTHON_CODES"),
            tls_seen: map!("TLS_SEEN"),
            tls_sockets: map!("TLS_SOCKETS"),
            tls_closes: map!("TLS_CLOSES"),
            tls_stacks: map!("TLS_STACKS"),
            armed: map!("ARMED"),
            emfile: map!("EMFILE"),
            seen: map!("STACKS_SEEN"),
            transitions: map!("TRANSITIONS"),
            durations: map!("DURATIONS"),
            lost: map!("LOST"),
            counts: map!("HALF_CLOSED_COUNTS"),
            closers: map!("CLOSERS"),
            bad_closes: map!("BAD_CLOSES"),
            close_calls: map!("CLOSE_CALLS"),
            aborts: map!("ABORTS"),
            abort_stacks: map!("ABORT_STACKS"),
            eof_spins: map!("EOF_SPINS"),
            suspects: map!("SUSPECTS"),
            detaching: None,
            max_sockets: options.max_sockets,
            own_tgid: std::process::id(),
            ring: RingDrain::new(map!("STACK_RING")).map_err(|error| refused("STACK_RING", &error.into()))?,
            stream_ring: map!("STREAM_RING"),
            ebpf,
            features,
        };
        kernel.write_control();
        Ok(kernel)
    }

    pub(super) fn write_control(&mut self) {
        let now = Fact(self.control_now);
        if let Err(error) = self.control.set(0, now, 0) {
            log::warn!("cannot set the programs' controls: {error}");
        }
    }
}

/// This process is in the host's PID namespace, whose number is fixed (`PROC_PID_INIT_INO` in
/// include/linux/proc_ns.h): a census walks the tasks of its reader's namespace only.
fn sees_all_processes() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace.as_os_str() == "pid:[4026531836]")
}

/// All of [`TRACEPOINTS`] that are `present`.
fn attach_tracepoints(ebpf: &mut Ebpf, present: &[bool], btf: &AyaBtf) -> Result<Vec<Feature>, LoadError> {
    let mut features = Vec::new();
    for ((program, tracepoint, needed), present) in TRACEPOINTS.into_iter().zip(present) {
        let outcome = match present {
            true => attach_tracepoint(ebpf, program, tracepoint, btf),
            false => Err("not in this kernel".into()),
        };
        match outcome {
            Ok(()) => features.push(Feature::attached(tracepoint)),
            Err(error) if needed => return Err(refused(tracepoint, &error)),
            Err(error) => features.push(Feature::missing(tracepoint, &one_line(&error))),
        }
    }
    Ok(features)
}

pub(super) fn attach_tracepoint(ebpf: &mut Ebpf, name: &str, tracepoint: &str, btf: &AyaBtf) -> Result<(), AnyError> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    program.load(tracepoint, btf)?;
    program.attach()?;
    Ok(())
}
