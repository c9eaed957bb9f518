//! What a client sees that is not the owner: counts, kinds, identity and names of functions.
//!
//! Left out: files, lines, modules and offsets of stacks, addresses and descriptors of
//! sockets, and command lines. (The metrics tell of each site the two places that it is known by,
//! `tlsclose_site_info`.) Every field is named below: a new one does not compile until
//! somebody has decided whether it is a detail.

use crate::api::{AbortSite, BadCloses, ClosedElsewhere, HalfOpenSite, Process, Report, Site, Spinning, TlsSite};
use crate::why::{aborts, half_open, tls, why};
use tlsclose_core::model::{CommonPath, Frame, Touch};

/// The report without its details.
pub fn without_details(report: &Report) -> Report {
    Report {
        schema: report.schema,
        host: report.host.clone(),
        kernel: report.kernel.clone(),
        watching_since: report.watching_since.clone(),
        generated_at: report.generated_at.clone(),
        complete: report.complete,
        incomplete: report.incomplete.clone(),
        lost: report.lost,
        census: report.census,
        sites: report.sites.iter().map(site).collect(),
        half_open_sites: report.half_open_sites.iter().map(half_open_site).collect(),
        tls_sites: report.tls_sites.iter().map(tls_site).collect(),
        aborted_sites: report.aborted_sites.iter().map(aborted_site).collect(),
    }
}

fn site(full: &Site) -> Site {
    let opened = full.opened.as_ref().map(touch);
    let touched = full.touched.as_ref().map(touch);
    Site {
        site: full.site.clone(),
        kind: full.kind,
        status: full.status,
        spinning: full.spinning.as_ref().map(|spinning| Spinning {
            pid: spinning.pid,
            tid: spinning.tid,
            call: spinning.call.clone(),
            per_second: spinning.per_second,
            stack: stack(&spinning.stack),
        }),
        sockets: full.sockets,
        lingered: full.lingered,
        ended: full.ended,
        adopted: full.adopted,
        per_minute: full.per_minute,
        last_hour: full.last_hour.clone(),
        oldest_seconds: full.oldest_seconds,
        age_is_minimum: full.age_is_minimum,
        stack_samples: full.stack_samples,
        builds: full.builds.clone(),
        processes: full.processes.iter().map(process).collect(),
        why: why(full.kind, full.death, opened.as_ref(), touched.as_ref()) + &tls::goodbye(full.kind, &full.examples),
        opened,
        touched,
        closed_elsewhere: full.closed_elsewhere.as_ref().map(|closed| ClosedElsewhere {
            pid: closed.pid,
            comm: closed.comm.clone(),
            stack: stack(&closed.stack),
        }),
        usual_close: full.usual_close.as_ref().map(common),
        last_sent: full.last_sent.iter().map(common).collect(),
        examples: Vec::new(),
        // Addresses.
        accept_queues: Vec::new(),
        death: full.death,
        fix: full.fix.clone(),
    }
}

fn tls_site(full: &TlsSite) -> TlsSite {
    let closed = full.closed.as_ref().map(touch);
    TlsSite {
        site: full.site.clone(),
        kind: full.kind,
        comm: full.comm.clone(),
        exe: full.exe.clone(),
        closes: full.closes,
        outcomes: full.outcomes,
        peer_first: full.peer_first,
        process_exit: full.process_exit,
        after_data: full.after_data,
        per_minute: full.per_minute,
        share: full.share,
        processes: full.processes.clone(),
        why: tls::why(&full.outcomes, full.process_exit, full.after_data, closed.as_ref()),
        closed,
        fix: full.fix.clone(),
    }
}

fn aborted_site(full: &AbortSite) -> AbortSite {
    let closed = full.closed.as_ref().map(touch);
    AbortSite {
        site: full.site.clone(),
        kind: full.kind,
        comm: full.comm.clone(),
        exe: full.exe.clone(),
        aborted: full.aborted,
        causes: full.causes.clone(),
        per_minute: full.per_minute,
        processes: full.processes.clone(),
        why: aborts::why(&full.causes, closed.as_ref()),
        closed,
        fix: full.fix.clone(),
    }
}

fn half_open_site(full: &HalfOpenSite) -> HalfOpenSite {
    let opened = full.opened.as_ref().map(touch);
    HalfOpenSite {
        site: full.site.clone(),
        kind: full.kind,
        comm: full.comm.clone(),
        exe: full.exe.clone(),
        sockets: full.sockets,
        reasons: full.reasons.clone(),
        processes: full.processes.clone(),
        why: half_open::why(&full.reasons, opened.as_ref()),
        opened,
        // Addresses.
        examples: Vec::new(),
        fix: full.fix.clone(),
    }
}

fn process(full: &Process) -> Process {
    Process {
        pid: full.pid,
        ns_pid: full.ns_pid,
        comm: full.comm.clone(),
        exe: full.exe.clone(),
        cmdline: None,
        uid: full.uid,
        started_at: full.started_at.clone(),
        sockets: full.sockets,
        open_fds: full.open_fds,
        max_fds: full.max_fds,
        fds_exhausted_in_seconds: full.fds_exhausted_in_seconds,
        rss_bytes: full.rss_bytes,
        emfile_errors: full.emfile_errors,
        bad_closes: full.bad_closes.as_ref().map(|bad| BadCloses {
            calls: bad.calls,
            fd: bad.fd,
            stack: stack(&bad.stack),
        }),
        container: full.container.clone(),
    }
}

fn common(full: &CommonPath) -> CommonPath {
    CommonPath { sockets: full.sockets, whole: full.whole, stack: stack(&full.stack) }
}

fn touch(full: &Touch) -> Touch {
    Touch {
        call: full.call.clone(),
        result: full.result,
        seconds_ago: full.seconds_ago,
        whole: full.whole,
        stack: stack(&full.stack),
    }
}

fn stack(full: &[Frame]) -> Vec<Frame> {
    full.iter()
        .map(|frame| Frame {
            function: frame.function.clone(),
            file: None,
            line: None,
            module: None,
            build_id: None,
            offset: None,
            inlined: frame.inlined,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn without_details_nothing_tells_files_addresses_or_command_lines() {
        let mut report = sample::report();
        report.tls_sites = vec![sample::truncating()];
        let redacted = without_details(&report);
        assert!(redacted.tls_sites[0].why.contains("close in hang_up without"), "{}", redacted.tls_sites[0].why);
        assert!(redacted.aborted_sites[0].why.contains("closed in hang_up with"), "{}", redacted.aborted_sites[0].why);
        let json = serde_json::to_string(&redacted).unwrap();
        for secret in ["server.rs", "0x1f3a0", "10.0.0.4", "10.0.9.1", "51234", "secret"] {
            assert!(!json.contains(secret), "{secret} in {json}");
        }
    }

    #[test]
    fn without_details_counts_kinds_and_identity_stay() {
        let report = sample::report();
        let redacted = without_details(&report);
        assert_eq!(redacted.sites.len(), report.sites.len());
        let (site, full) = (&redacted.sites[0], &report.sites[0]);
        assert_eq!((site.kind, site.sockets, &site.site), (full.kind, full.sockets, &full.site));
        assert_eq!(site.processes[0].comm, "payments");
        assert_eq!(site.processes[0].container, full.processes[0].container);
        let opened = site.opened.as_ref().unwrap();
        assert_eq!(opened.stack[0].function.as_deref(), Some("accept_loop"));
        assert_eq!(site.why, "Peer closed; read returned 0 in handle_request and no close followed.");
    }
}
