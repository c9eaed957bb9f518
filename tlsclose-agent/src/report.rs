//! Turns what the watch knows into what the outputs show.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tlsclose_common::{
    facts::{Durations, state},
    limits::{HALF_CLOSED_BUCKETS_MS, STATES},
};

use crate::{
    clock::Moment,
    finding::*,
    kernel::{census::Totals, counters::Counters},
    place,
    sites::{SiteKey, SiteRecord, Tally},
    tracker::{ProcessKey, Socket},
    watch::Watch,
    why,
};

/// Upper bounds, in seconds, of the buckets of a census's duration.
const CENSUS_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// Processes shown for one site.
const PROCESSES_SHOWN: usize = 20;

/// The censuses so far.
pub struct CensusLog {
    pub since: jiff::Timestamp,
    /// The interval in force.
    pub interval: Duration,
    pub last: Totals,
    pub durations: Histogram,
    pub censuses: u64,
}

impl CensusLog {
    pub fn new(interval: Duration) -> Self {
        let bounds = CENSUS_BUCKETS.iter().copied().chain([f64::INFINITY]);
        Self {
            since: jiff::Timestamp::now(),
            interval,
            last: Totals::default(),
            durations: Histogram { buckets: bounds.map(|bound| (bound, 0)).collect(), sum: 0.0 },
            censuses: 0,
        }
    }

    pub fn record(&mut self, totals: &Totals, interval: Duration) {
        let seconds = totals.took.as_secs_f64();
        self.durations.sum += seconds;
        for (bound, count) in &mut self.durations.buckets {
            *count += u64::from(seconds <= *bound);
        }
        self.last = *totals;
        self.interval = interval;
        self.censuses += 1;
    }
}

/// Everything the outputs are made from, as of the census just done.
pub fn snapshot(watch: &mut Watch) -> Snapshot {
    let now = Moment::now();
    let counters = watch.kernel.counters().unwrap_or_else(|error| {
        log::warn!("cannot read the kernel side's counters: {error}");
        Counters::default()
    });
    let lost = losses(watch, &counters);
    let sockstat = watch.namespaces.sockstat(&watch.settings.procfs);
    Snapshot {
        report: report(watch, &lost, now),
        series: series(watch, now),
        site_infos: site_infos(watch),
        processes: processes(watch),
        adopted: adopted(watch),
        sockets: sockets(watch, sockstat.time_wait),
        orphans: sockstat.orphans,
        ignored: watch.ignored,
        transitions: transitions(&counters),
        half_closed_seconds: BTreeMap::from([
            (State::CloseWait, histogram(&counters.close_wait)),
            (State::FinWait2, histogram(&counters.fin_wait2)),
        ]),
        lost,
        census_duration: watch.log.durations.clone(),
        programs: programs(watch),
        maps: watch.kernel.map_uses(),
        features: features(watch),
        ready: true,
    }
}

fn report(watch: &mut Watch, lost: &BTreeMap<(String, String), u64>, now: Moment) -> Report {
    let total = |what: &str| lost.iter().filter(|((kind, _), _)| kind == what).map(|(_, count)| count).sum();
    let (host, kernel) = crate::host::name_and_kernel();
    let shown: Vec<(SiteKey, SiteRecord)> = watch
        .sites
        .sites
        .iter()
        .filter(|(_, record)| record.now.lingering > 0)
        .map(|(key, record)| (key.clone(), record.clone()))
        .collect();
    let mut sites: Vec<Site> = shown.into_iter().map(|(key, record)| site(watch, key, record, now)).collect();
    sites.sort_by(|a, b| b.status.cmp(&a.status).then(b.sockets.cmp(&a.sockets)));
    Report {
        schema: SCHEMA,
        host,
        kernel,
        watching_since: rfc3339(watch.log.since),
        generated_at: rfc3339(jiff::Timestamp::now()),
        complete: total("sockets") == 0,
        lost: LostTotals { sockets: total("sockets"), stacks: total("stacks"), events: total("events") },
        census: CensusInfo {
            interval_seconds: watch.log.interval.as_secs_f64(),
            seconds: watch.log.last.took.as_secs_f64(),
            tasks: watch.log.last.tasks,
            fds: watch.log.last.fds,
        },
        sites,
        tls_sites: Vec::new(),
    }
}

/// Whole seconds are enough for people, and sort.
fn rfc3339(at: jiff::Timestamp) -> String {
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}

fn site(watch: &mut Watch, key: SiteKey, record: SiteRecord, now: Moment) -> Site {
    let per_minute = record.history.per_minute();
    let mut processes: Vec<(ProcessKey, Tally)> = record.processes.into_iter().collect();
    processes.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.lingering));
    let processes = processes
        .into_iter()
        .take(PROCESSES_SHOWN)
        .filter_map(|(process, tally)| {
            let share = tally.lingering as f64 / record.now.lingering.max(1) as f64;
            describe_process(watch, process, tally.lingering, per_minute * share)
        })
        .collect();
    let mut touched = record.touched;
    if let (Some(touch), Some(socket)) = (&mut touched, record.now.examples.first()) {
        touch.seconds_ago = (socket.last.touched_at != 0).then(|| seconds(now.since(Moment(socket.last.touched_at))));
    }
    let examples = record.now.examples.iter().map(|socket| example(watch, socket, now)).collect();
    Site {
        why: why::why(key.kind, record.opened.as_ref(), touched.as_ref()),
        fix: why::fix(key.kind),
        site: key.site,
        kind: key.kind,
        status: record.status.unwrap_or(Status::Lingering),
        spinning: None,
        sockets: record.now.lingering,
        lingered: record.account.lingered,
        ended: record.account.ended,
        adopted: record.account.adopted,
        per_minute: (per_minute * 10.0).round() / 10.0,
        oldest_seconds: record.now.oldest.map_or(0.0, |oldest| seconds(now.since(oldest))),
        age_is_minimum: record.now.age_is_minimum,
        stack_samples: record.now.sampled,
        builds: record.builds,
        processes,
        opened: record.opened,
        touched,
        closed_elsewhere: None,
        usual_close: None,
        examples,
    }
}

/// Tenths of a second.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 10.0).round() / 10.0
}

fn describe_process(watch: &mut Watch, key: ProcessKey, sockets: u64, per_minute: f64) -> Option<Process> {
    let vitals = watch.attribution.vitals(key).unwrap_or_default();
    let who = watch.attribution.identity(key)?.clone();
    let room = vitals.max_fds.zip(vitals.open_fds).map(|(max, open)| max.saturating_sub(open));
    Some(Process {
        pid: key.tgid,
        ns_pid: who.ns_pid,
        comm: who.comm,
        exe: who.exe,
        cmdline: who.cmdline,
        uid: who.uid,
        started_at: who.started_at,
        sockets,
        open_fds: vitals.open_fds,
        max_fds: vitals.max_fds,
        fds_exhausted_in_seconds: room
            .filter(|_| per_minute > 0.0)
            .map(|room| (room as f64 / per_minute * 60.0).round()),
        rss_bytes: vitals.rss_bytes,
        emfile_errors: watch.kernel.emfile_errors(key.tgid),
        container: None,
    })
}

fn example(watch: &Watch, socket: &Socket, now: Moment) -> Example {
    let holders = std::iter::once(&socket.first_holder).chain(&socket.other_holders);
    let last = &socket.last;
    Example {
        local: address(last.family, last.local, last.local_port),
        remote: address(last.family, last.remote, last.remote_port),
        state: state_named(last.state).unwrap_or(State::Close),
        age_seconds: seconds(now.since(socket.clock)),
        holders: holders
            .map(|held| HolderInfo {
                pid: held.process.tgid,
                comm: watch.attribution.known_identity(held.process).map(|who| who.comm.clone()).unwrap_or_default(),
                fd: held.fd,
            })
            .collect(),
        recv_queue: last.recv_queue,
        send_queue: last.send_queue,
        netns: last.netns,
        tls: None,
    }
}

/// `address:port`; IPv6 in brackets, v4-mapped as IPv4.
fn address(family: u8, bytes: [u8; 16], port: u16) -> String {
    const AF_INET6: u8 = 10;
    let ip = if family == AF_INET6 {
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    };
    SocketAddr::new(ip, port).to_string()
}

fn series(watch: &Watch, now: Moment) -> Vec<SiteSeries> {
    let series = watch.sites.series.iter();
    series
        .map(|((identity, kind, site), record)| SiteSeries {
            identity: identity.clone(),
            kind: *kind,
            site: site.clone(),
            lingering: record.now.lingering,
            leaking: record.leaking,
            lingered_total: record.account.lingered,
            ended_total: record.account.ended,
            oldest_seconds: record.now.oldest.map_or(0.0, |oldest| seconds(now.since(oldest))),
        })
        .collect()
}

fn site_infos(watch: &Watch) -> Vec<SiteInfo> {
    let place = |touch: &Option<Touch>| {
        let frame = touch.as_ref().and_then(|touch| place::principal(&touch.stack));
        frame.map(place::describe).unwrap_or_default()
    };
    let sites = watch.sites.sites.iter();
    sites
        .filter(|(key, _)| key.site != crate::sites::OTHER && key.site != crate::sites::UNSAMPLED)
        .map(|(key, record)| SiteInfo {
            site: key.site.clone(),
            kind: key.kind,
            exe: key.exe.clone(),
            opened: place(&record.opened),
            touched: place(&record.touched),
        })
        .collect()
}

/// The worst process of each workload with a lingering socket.
fn processes(watch: &mut Watch) -> Vec<ProcessSeries> {
    let mut holders: BTreeMap<ProcessKey, f64> = BTreeMap::new();
    for record in watch.sites.sites.values() {
        for (process, tally) in &record.processes {
            let share = tally.lingering as f64 / record.now.lingering.max(1) as f64;
            *holders.entry(*process).or_default() += record.history.per_minute() * share;
        }
    }
    let mut worst: BTreeMap<Identity, ProcessSeries> = BTreeMap::new();
    for (process, per_minute) in holders {
        let Some(one) = describe_process(watch, process, 0, per_minute) else { continue };
        let identity = Identity { comm: one.comm, ..Identity::default() };
        let candidate = ProcessSeries {
            identity: identity.clone(),
            open_fds: one.open_fds,
            max_fds: one.max_fds,
            fds_exhausted_seconds: one.fds_exhausted_in_seconds,
            emfile_errors_total: one.emfile_errors,
        };
        let fullness = |series: &ProcessSeries| {
            series.open_fds.unwrap_or(0) as f64 / series.max_fds.unwrap_or(u64::MAX).max(1) as f64
        };
        let keep = worst.get(&identity).is_none_or(|known| fullness(&candidate) > fullness(known));
        if keep {
            worst.insert(identity, candidate);
        }
    }
    worst.into_values().collect()
}

fn adopted(watch: &Watch) -> BTreeMap<(Identity, Kind), u64> {
    let mut adopted = BTreeMap::new();
    for ((identity, kind, _), record) in &watch.sites.series {
        *adopted.entry((identity.clone(), *kind)).or_default() += record.account.adopted;
    }
    adopted
}

fn sockets(watch: &Watch, time_wait: u64) -> BTreeMap<State, u64> {
    let mut sockets: BTreeMap<State, u64> = BTreeMap::new();
    for (number, count) in watch.log.last.sockets.iter().enumerate() {
        if let Some(state) = state_named(number as u8) {
            sockets.insert(state, *count);
        }
    }
    sockets.insert(State::TimeWait, time_wait);
    sockets
}

fn transitions(counters: &Counters) -> BTreeMap<(State, State), u64> {
    let named = |slot: usize| Some((state_named((slot / STATES) as u8)?, state_named((slot % STATES) as u8)?));
    let counted = counters.transitions.iter().enumerate().filter(|(_, count)| **count > 0);
    counted.filter_map(|(slot, count)| Some((named(slot)?, *count))).collect()
}

fn histogram(durations: &Durations) -> Histogram {
    let bounds = HALF_CLOSED_BUCKETS_MS.iter().map(|bound| *bound as f64 / 1000.0).chain([f64::INFINITY]);
    let mut total = 0;
    let buckets = bounds
        .zip(durations.buckets)
        .map(|(bound, count)| {
            total += count;
            (bound, total)
        })
        .collect();
    Histogram { buckets, sum: durations.sum as f64 / 1e9 }
}

fn losses(watch: &Watch, counters: &Counters) -> BTreeMap<(String, String), u64> {
    let mut lost: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut add = |what: &str, reason: &str, count: u64| {
        *lost.entry((what.to_owned(), reason.to_owned())).or_default() += count;
    };
    for ((what, reason), count) in &counters.lost {
        add(what, reason, *count);
    }
    let paths = watch.attribution.paths.lost;
    add("stacks", "process_gone", paths.process_gone);
    add("stacks", "no_file", paths.no_file);
    add("stacks", "paths_full", paths.full);
    add("stacks", "symbols_failed", watch.attribution.symbols.failures);
    let (missed, refused) = watch.attribution.modules.timeouts();
    add("stacks", "file_hung", missed + refused);
    add("events", "recursion", watch.kernel.recursion_misses());
    lost
}

fn programs(watch: &Watch) -> Vec<ProgramRuns> {
    let runs = watch.kernel.runs().into_iter();
    runs.map(|run| ProgramRuns { program: run.program, seconds: run.nanoseconds as f64 / 1e9, runs: run.runs })
        .collect()
}

fn features(watch: &Watch) -> Vec<Feature> {
    watch.kernel.features.iter().map(|feature| feature.described()).collect()
}

/// A TCP state by its number in the kernel.
pub fn state_named(number: u8) -> Option<State> {
    Some(match number {
        state::ESTABLISHED => State::Established,
        state::SYN_SENT => State::SynSent,
        state::SYN_RECV => State::SynRecv,
        state::FIN_WAIT1 => State::FinWait1,
        state::FIN_WAIT2 => State::FinWait2,
        state::TIME_WAIT => State::TimeWait,
        state::CLOSE => State::Close,
        state::CLOSE_WAIT => State::CloseWait,
        state::LAST_ACK => State::LastAck,
        state::LISTEN => State::Listen,
        state::CLOSING => State::Closing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        let mut mapped = [0u8; 16];
        mapped[10..12].copy_from_slice(&[0xff, 0xff]);
        mapped[12..].copy_from_slice(&[10, 0, 9, 1]);
        let mut v4 = [0u8; 16];
        v4[..4].copy_from_slice(&[10, 0, 9, 1]);
        let mut loopback = [0u8; 16];
        loopback[15] = 1;
        assert_eq!(address(2, v4, 51234), "10.0.9.1:51234");
        assert_eq!(address(10, mapped, 443), "10.0.9.1:443");
        assert_eq!(address(10, loopback, 443), "[::1]:443");
    }

    #[test]
    fn kernel_histograms_become_cumulative() {
        let mut durations = Durations { sum: 2_500_000_000, ..Durations::default() };
        durations.buckets[0] = 3;
        durations.buckets[10] = 2;
        let histogram = histogram(&durations);
        assert_eq!(histogram.buckets[0], (0.001, 3));
        assert_eq!(histogram.buckets[10], (f64::INFINITY, 5));
        assert_eq!(histogram.sum, 2.5);
    }
}
