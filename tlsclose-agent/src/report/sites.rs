//! Sites and their processes, as `/api/v1/leaks` shows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{seconds, tls::standing};
use crate::{
    attribution::{
        blocked,
        process::{ProcessId, comm_text},
    },
    clock::Moment,
    finding::*,
    queues::Listener,
    sites::{SiteKey, SiteRecord, Tally, hour},
    tracker::{HeldBy, ProcessKey, Socket},
    watch::Watch,
    why,
};

/// Processes shown for one site.
const PROCESSES_SHOWN: usize = 20;

pub(super) fn site(
    watch: &mut Watch,
    key: SiteKey,
    record: SiteRecord,
    usual_close: Option<CommonPath>,
    now: Moment,
) -> Site {
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
    let listeners: Vec<Listener> =
        record.now.listeners.iter().filter_map(|listener| watch.queues.get(*listener).cloned()).collect();
    let mut touched = record.touched;
    if let (Some(touch), Some(socket)) = (&mut touched, record.now.examples.first()) {
        let at = match key.kind {
            Kind::CloseWaitNotAccepted => listeners.iter().map(|it| it.accepted_at).max().unwrap_or_default(),
            _ => socket.last.touched_at,
        };
        touch.seconds_ago = (at != 0).then(|| seconds(now.since(Moment(at))));
    }
    let closed_elsewhere = closed_elsewhere(watch, &record.now.examples);
    let Tally { lingering, both_ended, failed, .. } = record.now;
    let death = Death::of(lingering, both_ended, failed);
    let spinning = watch.spinning.sites.get(&key).cloned();
    for socket in &record.now.examples {
        get_to_know(watch, std::iter::once(&socket.first_holder).chain(&socket.other_holders));
    }
    let examples: Vec<Example> = record.now.examples.iter().map(|socket| example(watch, socket, now)).collect();
    // What is the last touch already says nothing more.
    let mut last_sent = watch.attribution.common_paths(&record.now.sent);
    last_sent.retain(|sent| touched.as_ref().is_none_or(|touched| touched.stack != sent.stack));
    Site {
        why: why::why(key.kind, death, record.opened.as_ref(), touched.as_ref())
            + &why::closed_in_vain(key.kind, closed_elsewhere.as_ref())
            + &why::spinning(spinning.as_ref())
            + &why::siblings(usual_close.as_ref(), record.now.lingering)
            + &why::tls::goodbye(key.kind, &examples),
        fix: why::fix(key.kind, death),
        death,
        site: key.site,
        kind: key.kind,
        status: record.status.unwrap_or(Status::Lingering),
        spinning,
        sockets: record.now.lingering,
        lingered: record.account.lingered,
        ended: record.account.ended,
        adopted: record.account.adopted,
        per_minute: (per_minute * 10.0).round() / 10.0,
        last_hour: LastHour { step_seconds: hour::STEP.as_secs_f64(), sockets: record.hour.counts().collect() },
        oldest_seconds: record.now.oldest.map_or(0.0, |oldest| seconds(now.since(oldest))),
        age_is_minimum: record.now.age_is_minimum,
        stack_samples: record.now.sampled,
        builds: record.builds,
        processes,
        opened: record.opened,
        touched,
        closed_elsewhere,
        usual_close,
        last_sent,
        examples,
        accept_queues: listeners.iter().map(|listener| accept_queue(watch, listener)).collect(),
    }
}

/// The call of close() that left one of the examples open.
fn closed_elsewhere(watch: &mut Watch, examples: &[Socket]) -> Option<ClosedElsewhere> {
    let was_closed = examples.iter().filter(|socket| socket.last.was_closed);
    let closer = was_closed.filter_map(|socket| watch.kernel.closes.closer(socket.last.sk)).next()?;
    Some(ClosedElsewhere {
        pid: closer.tgid,
        comm: comm_text(closer.comm),
        stack: watch.attribution.stack_of(closer.stack),
    })
}

fn bad_closes(watch: &mut Watch, process: ProcessKey) -> Option<BadCloses> {
    let bad = watch.kernel.closes.bad(process)?;
    Some(BadCloses { calls: bad.count, fd: bad.fd.cast_signed(), stack: watch.attribution.stack_of(bad.stack) })
}

pub(super) fn describe_process(watch: &mut Watch, key: ProcessKey, sockets: u64, per_minute: f64) -> Option<Process> {
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
        bad_closes: bad_closes(watch, key),
        emfile_errors: watch.kernel.counters.emfile_errors(key.tgid),
        container: watch.attribution.container(key),
    })
}

fn example(watch: &Watch, socket: &Socket, now: Moment) -> Example {
    let last = &socket.last;
    let holding = std::iter::once(&socket.first_holder).chain(&socket.other_holders);
    let holding = holding.filter(|_| !last.is_unheld);
    Example {
        local: address(last.family, last.local, last.local_port),
        remote: address(last.family, last.remote, last.remote_port),
        state: State::numbered(last.state).unwrap_or(State::Close),
        age_seconds: seconds(now.since(socket.clock)),
        holders: holders(watch, holding),
        holder_unknown: last.is_unheld,
        blocked_threads: blocked_threads(watch, socket),
        recv_queue: last.recv_queue,
        send_queue: last.send_queue,
        netns: last.netns,
        tls: standing(last),
    }
}

/// Of a socket that no descriptor table shows: who is inside a call on the descriptor that was closed.
fn blocked_threads(watch: &Watch, socket: &Socket) -> Vec<BlockedThread> {
    if !(socket.last.is_unheld && socket.last.was_closed) {
        return Vec::new();
    }
    let Some(closer) = watch.kernel.closes.closer(socket.last.sk) else { return Vec::new() };
    let process = ProcessId { tgid: closer.tgid, started_at: closer.started_at };
    blocked::threads(&watch.attribution.procfs, process, closer.fd)
}

fn accept_queue(watch: &mut Watch, listener: &Listener) -> AcceptQueue {
    get_to_know(watch, listener.holders.iter());
    AcceptQueue {
        local: address(listener.family, listener.local, listener.local_port),
        netns: listener.netns,
        length: listener.queue.length,
        limit: listener.queue.limit,
        half_closed: listener.queue.half_closed,
        syn_recv: listener.queue.requests,
        syn_recv_unanswered: listener.queue.requests.saturating_sub(listener.queue.young),
        holders: holders(watch, listener.holders.iter()),
    }
}

/// Looks at holders; those that no lingering socket is counted for were not looked at yet.
fn get_to_know<'a>(watch: &mut Watch, holding: impl Iterator<Item = &'a HeldBy>) {
    for held in holding {
        watch.attribution.identity(held.process);
    }
}

fn holders<'a>(watch: &Watch, holding: impl Iterator<Item = &'a HeldBy>) -> Vec<HolderInfo> {
    let comm = |held: &HeldBy| watch.attribution.known_identity(held.process).map(|who| who.comm.clone());
    holding
        .map(|held| HolderInfo { pid: held.process.tgid, comm: comm(held).unwrap_or_default(), fd: held.fd })
        .collect()
}

/// `address:port`; IPv6 in brackets, v4-mapped as IPv4.
pub(super) fn address(family: u8, bytes: [u8; 16], port: u16) -> String {
    const AF_INET6: u8 = 10;
    let ip = if family == AF_INET6 {
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    };
    SocketAddr::new(ip, port).to_string()
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
}
