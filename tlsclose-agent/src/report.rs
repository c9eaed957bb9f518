//! Turns what the watch knows into what the outputs show.

mod aborts;
mod counts;
mod half_open;
mod series;
mod sites;
mod tls;

use std::{collections::BTreeMap, time::Duration};

use self::{
    aborts::aborted_sites,
    counts::{histogram, losses, programs, sockets, transitions},
    half_open::{half_open_series, half_open_sites},
    series::{accept_queues, adopted, processes, series, site_infos},
    sites::site,
    tls::tls_sites,
};
use crate::{
    clock::Moment,
    finding::*,
    host::neighbours::Conntrack,
    kernel::{census::Totals, counters::Counters},
    sites::{SiteKey, SiteRecord},
    snapshot::*,
    watch::Watch,
};

/// Censuses that tell what one costs.
const COSTS: usize = 5;
/// Upper bounds, in seconds, of the buckets of a census's duration.
const CENSUS_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// The censuses so far.
pub struct CensusLog {
    pub since: jiff::Timestamp,
    /// The interval in force.
    pub interval: Duration,
    pub last: Totals,
    pub durations: Histogram,
    pub censuses: u64,
    /// CPU time of the last few censuses, the newest last.
    costs: Vec<Duration>,
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
            costs: Vec::new(),
        }
    }

    /// Takes in what a census cost that is shown nowhere.
    pub fn cost(&mut self, cpu: Duration) {
        if self.costs.len() == COSTS {
            self.costs.remove(0);
        }
        self.costs.push(cpu);
    }

    /// Takes in a census; the interval is at least `shortest`, and stretches so that what a census
    /// usually costs stays one part in `share` of a core.
    pub fn record(&mut self, totals: &Totals, shortest: Duration, share: u32) {
        self.cost(totals.cpu);
        self.interval = shortest.max(median(&self.costs) * share);
        let seconds = totals.took.as_secs_f64();
        self.durations.sum += seconds;
        for (bound, count) in &mut self.durations.buckets {
            *count += u64::from(seconds <= *bound);
        }
        self.last = *totals;
        self.censuses += 1;
    }
}

/// The middle one, of two the smaller; zero of none.
fn median(costs: &[Duration]) -> Duration {
    let mut sorted = costs.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Everything the outputs are made from, as of the census just done.
pub fn snapshot(watch: &mut Watch) -> Snapshot {
    let now = Moment::now();
    let counters = watch.kernel.counters.read().unwrap_or_else(|error| {
        log::warn!("cannot read the kernel side's counters: {error}");
        Counters::default()
    });
    let lost = losses(watch, &counters);
    let sockstat = watch.namespaces.sockstat(&watch.settings.procfs);
    Snapshot {
        report: report(watch, &lost, now),
        series: series(watch, now),
        site_infos: site_infos(watch),
        tls_closes: watch.tls.exported(),
        processes: processes(watch, now),
        accept_queues: accept_queues(watch, now),
        close_calls: watch.kernel.closes.calls().to_vec(),
        aborts: watch.aborts.exported(),
        half_open: half_open_series(watch, now),
        spinning: watch.spinning.sockets.clone(),
        unheld: watch.log.last.unheld,
        adopted: adopted(watch),
        sockets: sockets(watch, sockstat.time_wait),
        orphans: sockstat.orphans,
        syncookies: watch.syncookies.refresh(&watch.namespaces, &watch.settings.procfs),
        conntrack: Conntrack::read(&watch.settings.procfs),
        ignored: watch.ignored,
        transitions: transitions(&counters),
        half_closed_seconds: BTreeMap::from([
            (State::CloseWait, histogram(&counters.close_wait)),
            (State::FinWait2, histogram(&counters.fin_wait2)),
        ]),
        lost,
        census_duration: watch.log.durations.clone(),
        programs: programs(watch),
        maps: watch.kernel.counters.map_uses(),
        features: features(watch),
        host: watch.settings.host.clone(),
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
    let mut openings = watch.sites.openings();
    let mut sites: Vec<Site> = shown
        .into_iter()
        .map(|(key, record)| {
            let usual_close = openings.remove(&key).and_then(|paths| watch.attribution.usual_close(paths));
            site(watch, key, record, usual_close, now)
        })
        .collect();
    sites.sort_by(|a, b| b.status.cmp(&a.status).then(b.sockets.cmp(&a.sockets)));
    Report {
        schema: SCHEMA,
        host,
        kernel,
        watching_since: rfc3339(watch.log.since),
        generated_at: rfc3339(jiff::Timestamp::now()),
        complete: total("sockets") == 0
            && watch.kernel.controls.sees_all()
            && watch.queues.are_whole(watch.kernel.walks_queues())
            && watch.log.last.unheld <= tlsclose_common::limits::UNHELD_RECORDS,
        lost: LostTotals { sockets: total("sockets"), stacks: total("stacks"), events: total("events") },
        census: CensusInfo {
            interval_seconds: watch.log.interval.as_secs_f64(),
            seconds: watch.log.last.took.as_secs_f64(),
            tasks: watch.log.last.tasks,
            fds: watch.log.last.fds,
        },
        sites,
        tls_sites: tls_sites(watch, now),
        aborted_sites: aborted_sites(watch, now),
        half_open_sites: half_open_sites(watch),
    }
}

/// Whole seconds are enough for people, and sort.
fn rfc3339(at: jiff::Timestamp) -> String {
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}

/// Tenths of a second.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 10.0).round() / 10.0
}

fn features(watch: &Watch) -> Vec<Feature> {
    let unknown: Vec<String> = watch.attribution.python.unknown().collect();
    let described = watch.kernel.features.iter().map(|feature| feature.described());
    described.map(|feature| with_unknown_python(feature, &unknown)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_stretches_with_the_usual_cost_and_not_with_one_slow_census() {
        let milliseconds = Duration::from_millis;
        let mut log = CensusLog::new(milliseconds(5000));
        let mut after = |cpu| {
            log.record(&Totals { cpu: milliseconds(cpu), ..Totals::default() }, milliseconds(5000), 100);
            log.interval
        };
        assert_eq!(after(3), milliseconds(5000));
        assert_eq!(after(900), milliseconds(5000), "one that was slow");
        assert_eq!([after(90), after(90), after(90)].map(|interval| interval.as_secs()), [9, 9, 9]);
        assert_eq!([after(1), after(1), after(1)].map(|interval| interval.as_secs()), [9, 9, 5]);
    }
}
