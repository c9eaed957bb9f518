//! Sites and their processes, as `/api/v1/leaks` shows them.

use std::cmp::Reverse;

use tlsclose_core::{
    leaks::{
        accept_queues::Listener,
        sites::{SiteKey, SiteRecord, hour},
        tracker::Socket,
    },
    model::{Death, HeldBy, Kind, Moment, ProcessId, State, Status, Touch},
};

use super::{
    rounding::{seconds, tenths},
    tls::standing,
};
use crate::{
    api::{AcceptQueue, Example, HolderInfo, LastHour, PROCESSES_SHOWN, Process, Site},
    watch::{Evidence, View},
    why,
};

/// Those that leak first, of these those without descriptors, then those with the most sockets.
pub(super) fn sites(view: &View) -> Vec<Site> {
    let shown = view.sites.sites.iter().filter(|(_, record)| record.now.lingering > 0);
    let mut sites: Vec<Site> = shown.map(|(key, record)| site(view, key, record)).collect();
    sites.sort_by_key(|site| (Reverse(site.status), !site.is_exhausted(), Reverse(site.sockets)));
    sites
}

fn site(view: &View, key: &SiteKey, record: &SiteRecord) -> Site {
    let evidence = view.evidence.get(key).cloned().unwrap_or_default();
    let listeners: Vec<&Listener> =
        record.now.listeners.iter().filter_map(|listener| view.queues.get(*listener)).collect();
    let touched = touched(view, key.kind, record, &listeners);
    let now = &record.now;
    let death = Death::of(now.lingering, now.both_ended, now.failed);
    let spinning = view.spinning.sites.get(key).cloned();
    let examples: Vec<Example> = now.examples.iter().map(|socket| example(view, &evidence, socket)).collect();
    // What is the last touch already says nothing more.
    let mut last_sent = evidence.last_sent;
    last_sent.retain(|sent| touched.as_ref().is_none_or(|touched| touched.stack != sent.stack));
    Site {
        why: why::why(key.kind, death, record.opened.as_ref(), touched.as_ref())
            + &why::closed_in_vain(key.kind, evidence.closed_elsewhere.as_ref())
            + &why::spinning(spinning.as_ref())
            + &why::siblings(evidence.usual_close.as_ref(), now.lingering)
            + &why::tls::goodbye(key.kind, &examples),
        fix: why::fix(key.kind, death),
        death,
        site: key.site.clone(),
        kind: key.kind,
        status: record.status.unwrap_or(Status::Lingering),
        spinning,
        sockets: now.lingering,
        lingered: record.account.lingered,
        ended: record.account.ended,
        adopted: record.account.adopted,
        per_minute: record.history.per_minute().map(tenths),
        last_hour: LastHour { step_seconds: hour::STEP.as_secs_f64(), sockets: record.hour.counts().collect() },
        oldest_seconds: now.oldest.map_or(0.0, |oldest| seconds(view.now.since(oldest))),
        age_is_minimum: now.age_is_minimum,
        stack_samples: now.sampled,
        builds: record.builds.clone(),
        processes: processes(view, record),
        opened: record.opened.clone(),
        touched,
        closed_elsewhere: evidence.closed_elsewhere,
        usual_close: evidence.usual_close,
        last_sent,
        examples,
        accept_queues: listeners.into_iter().map(|listener| accept_queue(view, listener)).collect(),
    }
}

/// The last touch, and how long ago that was: of connections that nobody accepted, the last accept.
fn touched(view: &View, kind: Kind, record: &SiteRecord, listeners: &[&Listener]) -> Option<Touch> {
    let mut touched = record.touched.clone()?;
    if let Some(socket) = record.now.examples.first() {
        let at = match kind {
            Kind::CloseWaitNotAccepted => listeners.iter().map(|it| it.accepted_at).max().unwrap_or_default(),
            _ => socket.last.touched_at,
        };
        touched.seconds_ago = (at != 0).then(|| seconds(view.now.since(Moment(at))));
    }
    Some(touched)
}

/// Those with the most sockets, as far as they are known.
fn processes(view: &View, record: &SiteRecord) -> Vec<Process> {
    let described =
        record.largest().take(PROCESSES_SHOWN).filter_map(|(process, sockets)| self::process(view, process, sockets));
    described.collect()
}

/// A holder of so many lingering sockets.
pub(super) fn process(view: &View, id: ProcessId, sockets: u64) -> Option<Process> {
    let known = view.processes.get(&id)?;
    let state = view.holders.get(&id)?;
    let (who, vitals) = (&known.who, &state.vitals);
    Some(Process {
        pid: id.tgid,
        ns_pid: who.ns_pid,
        comm: who.comm.clone(),
        exe: who.exe.clone(),
        cmdline: who.cmdline.clone(),
        uid: who.uid,
        started_at: who.started_at.clone(),
        sockets,
        open_fds: vitals.open_fds,
        max_fds: vitals.max_fds,
        fds_exhausted_in_seconds: state.exhausted_in,
        rss_bytes: vitals.rss_bytes,
        bad_closes: state.bad_closes.clone(),
        emfile_errors: state.emfile_errors,
        container: known.container.clone(),
    })
}

fn example(view: &View, evidence: &Evidence, socket: &Socket) -> Example {
    let last = &socket.last;
    let holding = std::iter::once(&socket.first_holder).chain(&socket.other_holders);
    let holding = holding.filter(|_| !last.is_unheld);
    Example {
        local: last.ends.local.to_string(),
        remote: last.ends.remote.to_string(),
        state: State::numbered(last.state).unwrap_or(State::Close),
        age_seconds: seconds(view.now.since(socket.clock)),
        holders: holders(view, holding),
        holder_unknown: last.is_unheld,
        blocked_threads: evidence.blocked.get(&last.sk).cloned().unwrap_or_default(),
        recv_queue: last.recv_queue,
        send_queue: last.send_queue,
        netns: last.ends.netns,
        tls: standing(last),
    }
}

fn accept_queue(view: &View, listener: &Listener) -> AcceptQueue {
    let queue = &listener.queue;
    AcceptQueue {
        local: listener.ends.local.to_string(),
        netns: listener.ends.netns,
        length: queue.length,
        limit: queue.limit,
        half_closed: queue.half_closed,
        syn_recv: queue.requests,
        syn_recv_unanswered: queue.requests.saturating_sub(queue.young),
        holders: holders(view, listener.holders.iter()),
    }
}

fn holders<'a>(view: &View, holding: impl Iterator<Item = &'a HeldBy>) -> Vec<HolderInfo> {
    let comm = |held: &HeldBy| view.processes.get(&held.process).map(|known| known.who.comm.clone());
    holding
        .map(|held| HolderInfo { pid: held.process.tgid, comm: comm(held).unwrap_or_default(), fd: held.fd })
        .collect()
}
