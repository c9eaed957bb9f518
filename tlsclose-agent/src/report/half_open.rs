//! Established connections whose peer may be gone, by the code path that opened them.

use std::collections::BTreeMap;

use tlsclose_core::{
    leaks::half_open::Suspect,
    model::{
        HalfOpenReason, Kind, ProcessId, Touch, Workload,
        series_limit::UNSAMPLED,
        site_id::{Trace, site_id},
    },
};

use super::rounding::seconds;
use crate::{
    api::{HalfOpenExample, HalfOpenProcess, HalfOpenSeries, HalfOpenSite, HolderInfo, PROCESSES_SHOWN},
    watch::{KnownProcess, View},
    why,
};

/// Examples shown for one site.
const EXAMPLES: usize = 5;

/// Sockets of one process, opened by one code path.
type Groups = BTreeMap<(ProcessId, u64, u8), Vec<Suspect>>;

pub(super) fn half_open_sites(view: &View) -> Vec<HalfOpenSite> {
    let mut groups = Groups::new();
    for suspect in view.half_open.iter() {
        let key = (suspect.holder.process, suspect.opened, suspect.opened_call);
        groups.entry(key).or_default().push(suspect.clone());
    }
    let mut sites: BTreeMap<(String, String), HalfOpenSite> = BTreeMap::new();
    for ((process, opened, call), suspects) in groups {
        let Some(known) = view.processes.get(&process) else { continue };
        let who = &known.who;
        let opened = view.openings.get(&(opened, call)).cloned();
        let site = |touch: &Touch| site_id(Kind::HalfOpen, &who.exe, touch.into(), Trace::default());
        let (label, opened) = match opened.as_ref().and_then(site) {
            Some(site) => (site, opened),
            None => (UNSAMPLED.to_owned(), None),
        };
        let site = sites.entry((label.clone(), who.exe.clone())).or_insert_with(|| HalfOpenSite {
            site: label,
            kind: Kind::HalfOpen,
            comm: who.comm.clone(),
            exe: who.exe.clone(),
            sockets: 0,
            reasons: BTreeMap::new(),
            processes: Vec::new(),
            opened,
            examples: Vec::new(),
            why: String::new(),
            fix: String::new(),
        });
        site.sockets += suspects.len() as u64;
        for suspect in &suspects {
            *site.reasons.entry(suspect.reason).or_default() += 1;
        }
        let room = EXAMPLES.saturating_sub(site.examples.len());
        site.examples.extend(suspects.iter().take(room).map(|suspect| example(suspect, &who.comm)));
        add_process(site, suspects.len() as u64, process, known);
    }
    let mut sites: Vec<HalfOpenSite> = sites.into_values().map(finished).collect();
    sites.sort_by(|a, b| b.sockets.cmp(&a.sockets).then_with(|| a.site.cmp(&b.site)));
    sites
}

fn add_process(site: &mut HalfOpenSite, sockets: u64, process: ProcessId, known: &KnownProcess) {
    if let Some(there) = site.processes.iter_mut().find(|there| there.pid == process.tgid) {
        there.sockets += sockets;
        return;
    }
    site.processes.push(HalfOpenProcess {
        pid: process.tgid,
        comm: known.who.comm.clone(),
        exe: known.who.exe.clone(),
        started_at: known.who.started_at.clone(),
        sockets,
        container: known.container.clone(),
    });
}

fn finished(mut site: HalfOpenSite) -> HalfOpenSite {
    site.processes.sort_by_key(|process| std::cmp::Reverse(process.sockets));
    site.processes.truncate(PROCESSES_SHOWN);
    site.why = why::half_open::why(&site.reasons, site.opened.as_ref());
    site.fix = why::half_open::fix(&site.reasons);
    site
}

fn example(suspect: &Suspect, comm: &str) -> HalfOpenExample {
    let held = suspect.holder;
    HalfOpenExample {
        local: suspect.ends.local.to_string(),
        remote: suspect.ends.remote.to_string(),
        reason: suspect.reason,
        silent_seconds: seconds(suspect.silent),
        retransmissions: suspect.silence.retransmissions,
        probes: suspect.silence.probes,
        send_queue: suspect.send_queue,
        holder: HolderInfo { pid: held.process.tgid, comm: comm.to_owned(), fd: held.fd },
        netns: suspect.ends.netns,
    }
}

/// Counts by workload and reason.
pub(super) fn half_open_series(view: &View) -> Vec<HalfOpenSeries> {
    let mut counts: BTreeMap<(ProcessId, HalfOpenReason), u64> = BTreeMap::new();
    for suspect in view.half_open.iter() {
        *counts.entry((suspect.holder.process, suspect.reason)).or_default() += 1;
    }
    let mut series: BTreeMap<(Workload, HalfOpenReason), u64> = BTreeMap::new();
    for ((process, reason), count) in counts {
        let Some(identity) = view.labels.get(&process) else { continue };
        for each in HalfOpenReason::all() {
            *series.entry((identity.clone(), each)).or_default() += if each == reason { count } else { 0 };
        }
    }
    series.into_iter().map(|((identity, reason), sockets)| HalfOpenSeries { identity, reason, sockets }).collect()
}
