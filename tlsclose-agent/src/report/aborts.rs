//! Code paths that closed connections which did not end by a FIN.

use tlsclose_core::{
    closes::aborts::{AbortRecord, AbortSiteKey},
    model::Kind,
};

use super::rounding::tenths;
use crate::{
    api::{AbortProcess, AbortSite, PROCESSES_SHOWN},
    watch::View,
    why,
};

/// Those with the most first.
pub(super) fn aborted_sites(view: &View) -> Vec<AbortSite> {
    let shown = view.aborts.sites.iter().filter(|(_, record)| record.total() > 0);
    let mut sites: Vec<AbortSite> = shown.map(|(key, record)| site(view, key, record)).collect();
    sites.sort_by(|a, b| b.aborted.cmp(&a.aborted).then_with(|| a.site.cmp(&b.site)));
    sites
}

fn site(view: &View, key: &AbortSiteKey, record: &AbortRecord) -> AbortSite {
    let causes = record.causes.iter().filter(|(_, count)| **count > 0).map(|(cause, count)| (*cause, *count)).collect();
    let processes = record.busiest().filter_map(|(process, aborted)| {
        let known = view.processes.get(&process)?;
        Some(AbortProcess {
            pid: process.tgid,
            comm: known.who.comm.clone(),
            exe: known.who.exe.clone(),
            started_at: known.who.started_at.clone(),
            aborted,
            container: known.container.clone(),
        })
    });
    AbortSite {
        why: why::aborts::why(&causes, record.closed.as_ref()),
        fix: why::aborts::fix(&causes),
        site: key.site.clone(),
        kind: Kind::AbortedClose,
        comm: key.comm.clone(),
        exe: record.exe.clone(),
        aborted: record.total(),
        causes,
        per_minute: tenths(view.aborts.per_minute(record, view.now)),
        processes: processes.take(PROCESSES_SHOWN).collect(),
        closed: record.closed.clone(),
    }
}
