//! Code paths that closed connections which did not end by a FIN.

use crate::{api::*, watch::Watch, why};
use tlsclose_core::model::*;
use tlsclose_core::{
    closes::aborts::{AbortRecord, AbortSiteKey},
    model::{Moment, ProcessId},
};

/// Processes shown for one site.
const PROCESSES_SHOWN: usize = 20;

/// Those with the most first.
pub(super) fn aborted_sites(watch: &mut Watch, now: Moment) -> Vec<AbortSite> {
    let with_any = watch.aborts.sites.iter().filter(|(_, record)| record.total() > 0);
    let shown: Vec<(AbortSiteKey, AbortRecord, f64)> =
        with_any.map(|(key, record)| (key.clone(), record.clone(), watch.aborts.per_minute(record, now))).collect();
    let mut sites: Vec<AbortSite> =
        shown.into_iter().map(|(key, record, per_minute)| site(watch, key, record, per_minute)).collect();
    sites.sort_by(|a, b| b.aborted.cmp(&a.aborted).then_with(|| a.site.cmp(&b.site)));
    sites
}

fn site(watch: &mut Watch, key: AbortSiteKey, record: AbortRecord, per_minute: f64) -> AbortSite {
    let aborted = record.total();
    let causes = record.causes.into_iter().filter(|(_, count)| *count > 0).collect();
    let mut processes: Vec<(ProcessId, u64)> = record.processes.into_iter().filter(|(_, count)| *count > 0).collect();
    processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let processes = processes.into_iter().filter_map(|(process, aborted)| {
        let container = watch.attribution.container(process);
        let who = watch.attribution.identity(process)?;
        Some(AbortProcess {
            pid: process.tgid,
            comm: who.comm.clone(),
            exe: who.exe.clone(),
            started_at: who.started_at.clone(),
            aborted,
            container,
        })
    });
    let processes = processes.take(PROCESSES_SHOWN).collect();
    AbortSite {
        why: why::aborts::why(&causes, record.closed.as_ref()),
        fix: why::aborts::fix(&causes),
        site: key.site,
        kind: Kind::AbortedClose,
        comm: key.comm,
        exe: record.exe,
        aborted,
        causes,
        per_minute: (per_minute * 10.0).round() / 10.0,
        processes,
        closed: record.closed,
    }
}
