//! The loop that owns the tracker: drains stacks, takes the census, judges, publishes.

mod census_log;
mod placing;
mod resolve;
mod spinning;
mod spinning_now;
pub mod view;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use tlsclose_common::facts::holder;

pub use self::{
    census_log::CensusLog,
    spinning_now::SpinningNow,
    view::{Evidence, KnownProcess, View},
};
use crate::{
    attribution::{
        Attribution, KernelCommand,
        closes::{abort_intake::AbortIntake, tls_closes::TlsCloseIntake},
        code_paths::pending_stacks::RawStack,
        containers::Containers,
        process::{Procfs, last_user::LastUsers},
    },
    config::Rules,
    host::{Namespaces, facts::HostFact, neighbours::Syncookies},
    kernel::{Kernel, census::CensusError, counters::Counters, stacks::Record},
};
use tlsclose_core::{
    closes::{
        aborts::AbortAccounts,
        sampled_counters::{Counted, CountedCloses},
        tls::TlsAccounts,
        usual_close::Closed,
    },
    leaks::{
        accept_queues::AcceptQueues,
        fd_exhaustion::{DescriptorGrowth, EmfileAccounts},
        half_open::HalfOpen,
        sites::Sites,
        spins::Spins,
        tracker::{Socket, Tracker},
    },
    model::{
        Group, Moment, ProcessId, Ticks,
        series_limit::{Limits, SeriesLimit},
        ticks_per_second,
    },
};

/// A census may take this share of one core; the interval stretches to keep it.
const CENSUS_SHARE: u32 = 100;
/// New stacks are let pile up for this long, so that a burst costs one wake-up.
const BATCH: Duration = Duration::from_millis(10);
/// How often what depends on every process of the host is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How long the loop may sleep before it looks whether it should stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(200);
/// The same while stacks wait for a file: what is learned from them the kernel side needs soon.
const SHORT_SLEEP: Duration = Duration::from_millis(20);

/// How to watch.
#[derive(Clone, Debug)]
pub struct Settings {
    pub leak_after: Duration,
    pub leak_window: Duration,
    pub census_interval: Duration,
    /// Established connections without keepalive are shown when nothing moved for so long; zero: never.
    pub idle_after: Duration,
    pub limits: Limits,
    pub procfs: std::path::PathBuf,
    /// Where the container runtime listens; None to look for it.
    pub cri_socket: Option<std::path::PathBuf>,
    pub show_cmdline: bool,
    pub rules: Rules,
    pub host: Vec<HostFact>,
}

pub struct Watch {
    settings: Settings,
    kernel: Kernel,
    tracker: Tracker,
    queues: AcceptQueues,
    half_open: HalfOpen,
    spins: Spins,
    spinning: SpinningNow,
    sites: Sites,
    aborts: AbortAccounts,
    abort_intake: AbortIntake,
    tls: TlsAccounts,
    /// Which programs have gauges of their own.
    gauged: SeriesLimit,
    emfile: EmfileAccounts,
    descriptors: DescriptorGrowth,
    tls_close_intake: TlsCloseIntake,
    attribution: Attribution,
    log: CensusLog,
    last_users: LastUsers,
    namespaces: Namespaces,
    syncookies: Syncookies,
    ignored: u64,
    /// As last read.
    counters: Counters,
    ticks_base: (u64, Moment),
    ticks_per_second: u64,
    housekeeping_at: Instant,
}

impl Watch {
    pub fn new(kernel: Kernel, settings: Settings) -> Self {
        let procfs = Procfs::new(&settings.procfs);
        Self {
            sites: Sites::new(settings.limits),
            aborts: AbortAccounts::new(settings.limits),
            abort_intake: AbortIntake::default(),
            tls: TlsAccounts::new(settings.limits),
            gauged: SeriesLimit::new(settings.limits.programs),
            emfile: EmfileAccounts::default(),
            descriptors: DescriptorGrowth::default(),
            tls_close_intake: TlsCloseIntake::default(),
            attribution: Attribution::new(
                procfs,
                Containers::new(&settings.procfs, settings.cri_socket.clone()),
                settings.show_cmdline,
            ),
            tracker: Tracker::default(),
            queues: AcceptQueues::default(),
            half_open: HalfOpen::default(),
            spins: Spins::default(),
            spinning: SpinningNow::default(),
            log: CensusLog::new(settings.census_interval),
            namespaces: Namespaces::default(),
            syncookies: Syncookies::default(),
            last_users: LastUsers::new(),
            ignored: 0,
            counters: Counters::default(),
            ticks_base: (0, Moment(0)),
            ticks_per_second: 0,
            housekeeping_at: Instant::now(),
            settings,
            kernel,
        }
    }

    /// Watches until `stop` is set; `publish` is told after each census what is known then.
    pub fn run(&mut self, stop: &AtomicBool, mut publish: impl FnMut(&View<'_>)) -> Result<(), CensusError> {
        self.prepare()?;
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                let started = Instant::now();
                self.census()?;
                publish(&self.view());
                next = started + self.log.interval;
            }
            self.kernel.follow_sends();
            self.sleep_until(next);
        }
        Ok(())
    }

    /// Learns the kernel's tick rate from two looks, which the age of older sockets needs.
    fn prepare(&mut self) -> Result<(), CensusError> {
        let first = self.kernel.census(|_| {})?;
        std::thread::sleep(Duration::from_millis(220));
        let second = self.kernel.census(|_| {})?;
        // So that one slow census, at the start too, does not make them rare.
        self.log.cost(first.cpu);
        self.log.cost(second.cpu);
        self.ticks_base = (second.jiffies, Moment(second.now));
        let looks = [(first.jiffies, Moment(first.now)), self.ticks_base];
        self.ticks_per_second = ticks_per_second(looks[0], looks[1]).unwrap_or(0);
        self.kernel.controls.set_ticks(self.ticks_per_second, self.settings.idle_after.as_secs_f64());
        self.namespaces.refresh(&self.settings.procfs);
        Ok(())
    }

    /// One census, from the first look to the verdicts.
    fn census(&mut self) -> Result<(), CensusError> {
        self.drain();
        let now = crate::host::clock::now();
        self.tracker.begin(now);
        let jiffies_now =
            self.ticks_base.0 + (now.since(self.ticks_base.1).as_secs_f64() * self.ticks_per_second as f64) as u64;
        let ticks = Ticks { jiffies: jiffies_now, per_second: self.ticks_per_second };
        let (tracker, queues, paths) = (&mut self.tracker, &mut self.queues, &self.attribution.paths);
        let (half_open, spins) = (&mut self.half_open, &mut self.spins);
        let (last_users, procfs) = (&self.last_users, &self.attribution.procfs);
        queues.begin();
        half_open.begin(ticks);
        spins.begin(now);
        let totals = self.kernel.census(|record| {
            queues.observe(record);
            half_open.observe(record);
            spins.observe(record);
            if record.flags & holder::UNHELD == 0 {
                tracker.observe(record, ticks, |key| paths.by_key(key));
            } else {
                tracker.observe(&last_users.filled_in(record, procfs), ticks, |key| paths.by_key(key));
            }
        })?;
        self.log.record(&totals, self.settings.census_interval, CENSUS_SHARE);
        // Stacks taken while the census ran.
        self.drain();
        self.learn_closes();
        self.learn_aborts(now);
        self.learn_tls_closes(now);
        self.judge(now);
        self.housekeeping(now);
        Ok(())
    }

    /// Takes in where sockets were closed.
    fn learn_closes(&mut self) {
        let taken = self.kernel.closes.take().into_iter();
        let closed = taken.map(|(pair, sockets)| Closed { opened: pair.opened, closed: pair.closed, sockets });
        let Attribution { closes, paths, .. } = &mut self.attribution;
        closes.take(closed, |key| paths.by_key(key));
    }

    /// Takes in how connections were aborted.
    fn learn_aborts(&mut self, now: Moment) {
        // First the samples: what they are of is counted already.
        let samples = self.kernel.aborts.take_stacks();
        let counted = self.kernel.aborts.counts().into_iter();
        let counted = counted.map(|it| Counted { key: it.key, count: it.count, comm: it.comm }).collect();
        let closes = CountedCloses { counted, samples };
        let commands = self.abort_intake.take_in(closes, &mut self.attribution, &mut self.aborts, now);
        self.carry_out(commands);
    }

    /// Takes in how TLS connections were closed.
    fn learn_tls_closes(&mut self, now: Moment) {
        let samples = self.kernel.tls.take_stacks();
        let counted = self.kernel.tls.closes().into_iter();
        let counted = counted.map(|it| Counted { key: it.key, count: it.count, comm: it.comm }).collect();
        let closes = CountedCloses { counted, samples };
        let commands = self.tls_close_intake.take_in(closes, &mut self.attribution, &mut self.tls, now);
        self.carry_out(commands);
    }

    fn judge(&mut self, now: Moment) {
        self.place_all(now);
        let (attribution, settings, sites) = (&mut self.attribution, &self.settings, &self.sites);
        let procfs = attribution.procfs.clone();
        let changes = self.tracker.finish(
            |process| !process.is_known() || procfs.is_alive(process),
            |group| leak_after(attribution, settings, sites, &group),
        );
        self.place_changed(&changes, now);
        self.sites.book(&changes);
        let attribution = &mut self.attribution;
        self.sites.tally(now, self.settings.leak_window, self.tracker.sockets(), |process| {
            let vitals = attribution.vitals(process);
            vitals.map_or((0, 0), |v| (v.open_fds.unwrap_or(0), v.max_fds.unwrap_or(0)))
        });
        let ignores = |socket: &&Socket| self.sites.ignores(&socket.group);
        self.ignored = self.tracker.sockets().filter(ignores).count() as u64;
        self.arm();
        self.look_for_spins();
    }

    /// Processes with half-closed sockets that stay get their stacks taken first.
    fn arm(&mut self) {
        let armed: BTreeSet<u32> = self
            .tracker
            .sockets()
            .filter(|socket| socket.sightings >= 2)
            .map(|socket| socket.group.process.tgid)
            .filter(|tgid| *tgid != 0)
            .take(tlsclose_common::limits::ARMED_ENTRIES as usize * 64)
            .collect();
        self.kernel.arm(&armed);
    }

    /// Takes in everything that the kernel side has sent.
    fn drain(&mut self) {
        let attribution = &mut self.attribution;
        let mut learned = Vec::new();
        self.kernel.drain_stacks(|record| match record {
            Record::Frames(header, frames) => learned.extend(attribution.take_in(&header, RawStack::Frames(frames))),
            Record::Copy(header, bytes) => learned.extend(attribution.take_in(&header, RawStack::Copy(bytes))),
            Record::Python(header, frames) => attribution.python_stack(&header, frames),
            Record::PythonCode(code) => attribution.python.code(code),
            Record::PythonStart(start) => learned.extend(attribution.python_started(&start)),
            Record::End(end) => {
                let process = ProcessId { tgid: end.tgid, started_at: end.started_at };
                attribution.process_ended(process, end.exec != 0);
            }
        });
        self.carry_out(learned);
        self.look_again();
        let forgotten = self.attribution.forgotten();
        self.carry_out(forgotten);
    }

    /// Tells the kernel side how to go on, and what to forget.
    fn carry_out(&mut self, commands: Vec<KernelCommand>) {
        for command in commands {
            match command {
                KernelCommand::SetLeaf(leaf, rule) => self.kernel.stacks.set_leaf(leaf, rule),
                KernelCommand::SetInterpreter(image, interpreter) => self.kernel.stacks.set_python(image, interpreter),
                KernelCommand::ForgetStack(key) => self.kernel.stacks.forget(key),
                KernelCommand::ForgetCode(id) => self.kernel.stacks.forget_code(id),
                KernelCommand::ForgetAborts(key) => self.kernel.aborts.forget(key),
                KernelCommand::ForgetTlsCloses(key) => self.kernel.tls.forget(key),
            }
        }
    }

    /// At stacks that wait: for files, or for the maps of JIT compilers.
    fn look_again(&mut self) {
        let learned = self.attribution.take_in_pending();
        self.carry_out(learned);
        self.attribution.name_waiting();
    }

    fn housekeeping(&mut self, now: Moment) {
        if Instant::now() < self.housekeeping_at {
            return;
        }
        self.housekeeping_at = Instant::now() + HOUSEKEEPING;
        let procfs = &self.attribution.procfs;
        self.sites.forget(now, |process| procfs.is_alive(process));
        self.aborts.forget(now, |process| procfs.is_alive(process));
        self.tls.forget(now, |process| procfs.is_alive(process));
        self.gauged.forget(now);
        self.descriptors.forget(now);
        self.emfile.forget(|process| procfs.is_alive(process), |workload| self.gauged.has(workload));
        self.kernel.tls.tidy(now, |process| procfs.is_alive(process));
        self.attribution.tidy();
        self.namespaces.refresh(&self.settings.procfs);
        crate::kernel::malloc_trim::give_back();
    }

    fn sleep_until(&mut self, next: Instant) {
        let longest = if self.attribution.has_pending() { SHORT_SLEEP } else { LONGEST_SLEEP };
        let span = next.saturating_duration_since(Instant::now()).min(longest);
        if self.kernel.stacks.wait(span) {
            // Of a first TLS connection every send counts.
            self.kernel.follow_sends();
            std::thread::sleep(BATCH);
            self.drain();
        } else {
            // What waits is not to wait for other stacks.
            self.look_again();
        }
    }
}

/// How long sockets of the group may stay untouched.
fn leak_after(attribution: &mut Attribution, settings: &Settings, sites: &Sites, group: &Group) -> Duration {
    if sites.ignores(group) {
        return Duration::MAX;
    }
    let of_site = sites.site_of(group).and_then(|site| settings.rules.for_site(site).leak_after);
    let of_process = || {
        let namespace = attribution.container(group.process).unwrap_or_default().namespace;
        let who = attribution.identity(group.process)?;
        settings.rules.for_process(&who.comm, &who.exe, &namespace).leak_after
    };
    of_site.or_else(of_process).unwrap_or(settings.leak_after)
}
