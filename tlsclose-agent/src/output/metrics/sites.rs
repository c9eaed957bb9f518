//! Sites: how many sockets linger, how many began to and ended, and what a site is.

use std::fmt;

use super::by_workload::labels_of;
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::{SiteSeries, Snapshot};
use tlsclose_core::model::End;

/// Identity, then kind and site.
const BY_SITE: [&str; 6] = ["namespace", "pod", "container", "comm", "kind", "site"];

const LINGERING: Family<6> = Family::new(
    Type::Gauge,
    "tlsclose_lingering_sockets",
    BY_SITE,
    "Half-closed sockets that a program holds and has not touched for longer than leak-after.",
);
const LEAKING: Family<6> = Family::new(
    Type::Gauge,
    "tlsclose_leaking_sockets",
    BY_SITE,
    "The lingering sockets of sites that leak, else 0: alert on this.",
);
const LINGERED: Family<6> = Family::new(
    Type::Counter,
    "tlsclose_lingered_sockets_total",
    BY_SITE,
    "Sockets that began to linger while the agent watched, each once.",
);
const ENDED: Family<7> = Family::new(
    Type::Counter,
    "tlsclose_lingering_ended_total",
    ["namespace", "pod", "container", "comm", "kind", "site", "how"],
    "Lingering sockets that linger no more, by how it ended.",
);
const OLDEST: Family<6> =
    Family::new(Type::Gauge, "tlsclose_oldest_lingering_seconds", BY_SITE, "Age of the oldest lingering socket.");
const ADOPTED: Family<5> = Family::new(
    Type::Counter,
    "tlsclose_adopted_sockets_total",
    ["namespace", "pod", "container", "comm", "kind"],
    "Sockets that were half-closed before the agent started; never in the other counters.",
);
const INFO: Family<5> = Family::new(
    Type::Gauge,
    "tlsclose_site_info",
    ["site", "kind", "exe", "opened", "touched"],
    "What a site is; join on instance and site.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![
        LINGERING.declared(),
        LEAKING.declared(),
        LINGERED.declared(),
        ENDED.declared(),
        OLDEST.declared(),
        ADOPTED.declared(),
        INFO.declared(),
    ]
}

fn labels(series: &SiteSeries) -> [&str; 6] {
    let [namespace, pod, container, comm] = labels_of(&series.identity);
    [namespace, pod, container, comm, series.kind.name(), &series.site]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let all = || snapshot.series.iter();
    LINGERING.write(sink, all().map(|series| (labels(series), series.lingering)))?;
    LEAKING.write(sink, all().map(|series| (labels(series), series.leaking)))?;
    LINGERED.write(sink, all().map(|series| (labels(series), series.lingered_total)))?;
    ENDED.write(sink, all().flat_map(ended))?;
    OLDEST.write(sink, all().map(|series| (labels(series), series.oldest_seconds)))?;
    let adopted = snapshot.adopted.iter().map(|((identity, kind), total)| {
        let [namespace, pod, container, comm] = labels_of(identity);
        ([namespace, pod, container, comm, kind.name()], *total)
    });
    ADOPTED.write(sink, adopted)?;
    let infos = snapshot.site_infos.iter();
    INFO.write(sink, infos.map(|info| ([&*info.site, info.kind.name(), &info.exe, &info.opened, &info.touched], 1)))
}

fn ended(series: &SiteSeries) -> impl Iterator<Item = ([&str; 7], u64)> {
    let [namespace, pod, container, comm, kind, site] = labels(series);
    End::all().map(move |how| ([namespace, pod, container, comm, kind, site, how.name()], series.ended_total.of(how)))
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn a_site_is_exported_with_its_identity_kind_and_site() {
        let of = "namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\",kind=\"close_wait_eof_read\",site=\"9f2c41d0a7be\"";
        let exposition = exposition(&sample::snapshot());
        let lines = [
            format!("# TYPE tlsclose_lingering_sockets gauge\ntlsclose_lingering_sockets{{{of}}} 412\n"),
            format!("# TYPE tlsclose_leaking_sockets gauge\ntlsclose_leaking_sockets{{{of}}} 412\n"),
            format!("# TYPE tlsclose_lingered_sockets counter\ntlsclose_lingered_sockets_total{{{of}}} 430\n"),
            format!("# TYPE tlsclose_oldest_lingering_seconds gauge\ntlsclose_oldest_lingering_seconds{{{of}}} 1833.2\n"),
            format!(
                "# TYPE tlsclose_lingering_ended counter\n\
                 tlsclose_lingering_ended_total{{{of},how=\"closed\"}} 18\n\
                 tlsclose_lingering_ended_total{{{of},how=\"touched\"}} 0\n\
                 tlsclose_lingering_ended_total{{{of},how=\"reclassified\"}} 0\n\
                 tlsclose_lingering_ended_total{{{of},how=\"process_exit\"}} 0\n"
            ),
            "tlsclose_adopted_sockets_total{namespace=\"\",pod=\"\",container=\"\",comm=\"\",kind=\"fin_wait2_held\"} 2\n".to_owned(),
            "tlsclose_site_info{site=\"9f2c41d0a7be\",kind=\"close_wait_eof_read\",exe=\"/srv/payments\",opened=\"accept_loop (src/server.rs:88)\",touched=\"handle_request (src/server.rs:131)\"} 1\n".to_owned(),
        ];
        for lines in lines {
            assert_exposes(&exposition, &lines);
        }
    }

    #[test]
    fn a_hostile_name_stays_inside_its_quotes() {
        let mut snapshot = sample::snapshot();
        snapshot.series[0].identity.comm = "a\"} 1\nb\\{x=\"\u{fffd}é".to_owned();
        assert_exposes(
            &exposition(&snapshot),
            "comm=\"a\\\"} 1\\nb\\\\{x=\\\"\u{fffd}é\",kind=\"close_wait_eof_read\"",
        );
    }
}
