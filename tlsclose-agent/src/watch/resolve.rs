//! Asks for everything that a report needs, before it is made: the kernel's maps, procfs, names.

use std::collections::{BTreeMap, BTreeSet};

use tlsclose_core::{
    leaks::{
        sites::{SiteKey, SiteRecord},
        tracker::Socket,
    },
    model::{Loss, Moment, PathId, ProcessId, Touch, Workload},
};

use super::{
    Watch,
    view::{Evidence, HolderState, HostFacts, KernelFacts, KnownProcess, View},
};
use crate::{
    api::{BadCloses, BlockedThread, ClosedElsewhere, Feature, PROCESSES_SHOWN},
    attribution::process::{blocked, comm_text},
    host::{self, clock, neighbours::Conntrack},
    kernel::features::ProbedFeature,
};

type Known = BTreeMap<ProcessId, KnownProcess>;

impl Watch {
    /// All that is known after the census just done.
    pub(super) fn view(&mut self) -> View<'_> {
        let now = clock::now();
        let kernel = self.kernel_facts();
        let evidence = self.evidence();
        let mut processes = self.known_processes();
        let holders = self.holder_states(&mut processes, now);
        let labels = self.labels(&mut processes, &holders);
        let openings = self.openings();
        let (name, release) = host::name_and_kernel();
        let procfs = &self.settings.procfs;
        let host = HostFacts {
            name,
            kernel: release,
            facts: &self.settings.host,
            sockstat: self.namespaces.sockstat(procfs),
            syncookies: self.syncookies.refresh(&self.namespaces, procfs),
            conntrack: Conntrack::read(procfs),
        };
        View {
            now,
            generated_at: jiff::Timestamp::now(),
            log: &self.log,
            sites: &self.sites,
            queues: &self.queues,
            half_open: &self.half_open,
            aborts: &self.aborts,
            tls: &self.tls,
            emfile: &self.emfile,
            spinning: &self.spinning,
            ignored: self.ignored,
            kernel,
            host,
            processes,
            holders,
            labels,
            evidence,
            openings,
        }
    }

    fn kernel_facts(&mut self) -> KernelFacts {
        match self.kernel.counters.read() {
            Ok(counters) => self.counters = counters,
            // The last good ones stay: to Prometheus a counter that falls to 0 is a restart.
            Err(error) => log::warn!("cannot read the kernel side's counters: {error}"),
        }
        KernelFacts {
            counters: self.counters.clone(),
            lost: self.lost(),
            close_calls: self.kernel.closes.calls().to_vec(),
            runs: self.kernel.runs(),
            maps: self.kernel.counters.map_uses(),
            features: self.features(),
            sees_all: self.kernel.controls.sees_all(),
            walks_queues: self.kernel.walks_queues(),
        }
    }

    fn lost(&self) -> Vec<(Loss, u64)> {
        let paths = self.attribution.paths.lost;
        let python = self.attribution.python.lost;
        let (missed, refused) = self.attribution.modules.timeouts();
        vec![
            (Loss::ProcessGone, paths.process_gone),
            (Loss::NoFile, paths.no_file),
            (Loss::PathsFull, paths.full + python.full),
            (Loss::PythonLate, python.late),
            (Loss::PythonCodeMissing, python.code_missing),
            (Loss::SymbolsFailed, self.attribution.symbols.failures),
            (Loss::FileHung, missed + refused),
            (Loss::HalfOpenFull, self.half_open.unkept),
            (Loss::SpinsFull, self.spins.unkept),
            (Loss::Recursion, self.kernel.recursion_misses()),
        ]
    }

    fn features(&self) -> Vec<Feature> {
        let unknown: Vec<String> = self.attribution.python.unknown().collect();
        let described = self.kernel.features.iter().map(ProbedFeature::described);
        described.map(|feature| with_unknown_python(feature, &unknown)).collect()
    }

    /// What was seen around the sockets of each site that has lingering ones.
    fn evidence(&mut self) -> BTreeMap<SiteKey, Evidence> {
        let mut openings = self.sites.openings();
        let shown: Vec<(SiteKey, Vec<Socket>, BTreeMap<u64, u64>)> = shown(&self.sites.sites)
            .map(|(key, record)| (key.clone(), record.now.examples.clone(), record.now.sent.clone()))
            .collect();
        let mut evidence = BTreeMap::new();
        for (key, examples, sent) in shown {
            let opened = openings.remove(&key).unwrap_or_default();
            let seen = self.evidence_of(opened, &examples, &sent);
            evidence.insert(key, seen);
        }
        evidence
    }

    fn evidence_of(&mut self, opened: BTreeSet<PathId>, examples: &[Socket], sent: &BTreeMap<u64, u64>) -> Evidence {
        let blocked = examples.iter().map(|socket| (socket.last.sk, self.blocked_threads(socket)));
        let blocked = blocked.filter(|(_, threads)| !threads.is_empty()).collect();
        Evidence {
            usual_close: self.attribution.usual_close(opened),
            closed_elsewhere: self.closed_elsewhere(examples),
            last_sent: self.attribution.common_paths(sent),
            blocked,
        }
    }

    /// The call of close() that left one of the examples open.
    fn closed_elsewhere(&mut self, examples: &[Socket]) -> Option<ClosedElsewhere> {
        let mut was_closed = examples.iter().filter(|socket| socket.last.was_closed);
        let closer = was_closed.find_map(|socket| self.kernel.closes.closer(socket.last.sk))?;
        Some(ClosedElsewhere {
            pid: closer.tgid,
            comm: comm_text(closer.comm),
            stack: self.attribution.stack_of(closer.stack),
        })
    }

    /// Of a socket that no descriptor table shows: who is inside a call on the descriptor that was closed.
    fn blocked_threads(&self, socket: &Socket) -> Vec<BlockedThread> {
        if !(socket.last.is_unheld && socket.last.was_closed) {
            return Vec::new();
        }
        let Some(closer) = self.kernel.closes.closer(socket.last.sk) else { return Vec::new() };
        let process = ProcessId { tgid: closer.tgid, started_at: closer.started_at };
        blocked::threads(&self.attribution.procfs, process, closer.fd)
    }

    /// Everybody that is named somewhere.
    fn known_processes(&mut self) -> Known {
        let mut known = Known::new();
        let records = self.sites.sites.values().filter(|record| record.now.lingering > 0);
        let sockets = records.flat_map(|record| &record.now.examples);
        let holding = sockets.flat_map(|socket| std::iter::once(&socket.first_holder).chain(&socket.other_holders));
        let accepting = self.queues.iter().flat_map(|listener| &listener.holders);
        let half_open = self.half_open.iter().map(|suspect| suspect.holder.process);
        let each: BTreeSet<ProcessId> = holding.chain(accepting).map(|held| held.process).chain(half_open).collect();
        for process in each {
            self.get_to_know(process, &mut known);
        }
        let aborting = self.aborts.sites.values().map(|record| record.busiest().map(|(process, _)| process).collect());
        let closing = self.tls.sites.values().map(|record| record.busiest().map(|(process, _)| process).collect());
        let busiest: Vec<Vec<ProcessId>> = aborting.chain(closing).collect();
        for processes in busiest {
            let mut shown = 0;
            for process in processes {
                shown += usize::from(self.get_to_know(process, &mut known));
                if shown == PROCESSES_SHOWN {
                    break;
                }
            }
        }
        known
    }

    /// Whether it is known who the process is.
    fn get_to_know(&mut self, process: ProcessId, known: &mut Known) -> bool {
        if known.contains_key(&process) {
            return true;
        }
        let Some(who) = self.attribution.identity(process).cloned() else { return false };
        let container = self.attribution.container(process);
        known.insert(process, KnownProcess { who, container });
        true
    }

    /// How the holders of lingering sockets fare, who become known.
    fn holder_states(&mut self, known: &mut Known, now: Moment) -> BTreeMap<ProcessId, HolderState> {
        let holders: BTreeSet<ProcessId> =
            self.sites.sites.values().flat_map(|record| record.processes.keys().copied()).collect();
        let mut states = BTreeMap::new();
        for process in holders {
            if !self.get_to_know(process, known) {
                continue;
            }
            let vitals = self.attribution.vitals(process).unwrap_or_default();
            if let Some(open) = vitals.open_fds {
                self.descriptors.observe(process, now, open);
            }
            let state = HolderState {
                vitals,
                exhausted_in: self.descriptors.exhausted_in(process, vitals.open_fds, vitals.max_fds),
                bad_closes: self.bad_closes(process),
                emfile_errors: self.kernel.counters.emfile_errors(process.tgid),
            };
            states.insert(process, state);
        }
        states
    }

    fn bad_closes(&mut self, process: ProcessId) -> Option<BadCloses> {
        let bad = self.kernel.closes.bad(process)?;
        Some(BadCloses { calls: bad.count, fd: bad.fd.cast_signed(), stack: self.attribution.stack_of(bad.stack) })
    }

    /// The labels of gauges: of holders of lingering sockets, of listeners, and of half-open connections. Descriptors
    /// that ran out are added to the accounts of their workload.
    fn labels(
        &mut self,
        known: &mut Known,
        holders: &BTreeMap<ProcessId, HolderState>,
    ) -> BTreeMap<ProcessId, Workload> {
        let now = clock::now();
        let listening = self.queues.iter().filter_map(|listener| listener.holders.first());
        let half_open: BTreeSet<ProcessId> = self.half_open.iter().map(|suspect| suspect.holder.process).collect();
        let others = listening.map(|held| held.process).chain(half_open);
        let mut labels = BTreeMap::new();
        for process in holders.keys().copied().chain(others) {
            let Some(KnownProcess { who, container }) = known.get(&process) else { continue };
            let workload = Workload::new(who.comm.clone(), container.as_ref());
            let label = self.gauged.label(&workload, now);
            if let Some(state) = holders.get(&process) {
                self.emfile.add(&label, process, state.emfile_errors);
            }
            labels.insert(process, label);
        }
        labels
    }

    /// Where half-open connections were opened.
    fn openings(&mut self) -> BTreeMap<(u64, u8), Touch> {
        let each: BTreeSet<(u64, u8)> =
            self.half_open.iter().map(|suspect| (suspect.opened, suspect.opened_call)).collect();
        let mut openings = BTreeMap::new();
        for (opened, call) in each {
            if let Some(touch) = self.attribution.opening(opened, call) {
                openings.insert((opened, call), touch);
            }
        }
        openings
    }
}

/// Sites that have lingering sockets now.
fn shown(sites: &BTreeMap<SiteKey, SiteRecord>) -> impl Iterator<Item = (&SiteKey, &SiteRecord)> {
    sites.iter().filter(|(_, record)| record.now.lingering > 0)
}

/// Where an interpreter was seen that is not known, not all Python programs have their frames.
fn with_unknown_python(feature: Feature, unknown: &[String]) -> Feature {
    if feature.name != "python_frames" || !feature.available || unknown.is_empty() {
        return feature;
    }
    Feature {
        available: false,
        probe: format!("not known: {}", unknown.join(", ")),
        without: "stacks of these interpreters show their own functions".to_owned(),
        ..feature
    }
}
