//! What a client sees that is not the owner: counts, kinds, identity and names of functions.
//!
//! Left out: files, lines, modules and offsets of stacks, addresses and descriptors of
//! sockets, and command lines.

use crate::finding::{Frame, Report, Site};
use crate::why::why;

/// The report without its details.
pub fn without_details(mut report: Report) -> Report {
    report.sites.iter_mut().for_each(redact);
    // Findings on TLS are made of stacks and peers.
    report.tls_sites.clear();
    report
}

fn redact(site: &mut Site) {
    site.examples.clear();
    for process in &mut site.processes {
        process.cmdline = None;
    }
    for touch in [&mut site.opened, &mut site.touched].into_iter().flatten() {
        redact_stack(&mut touch.stack);
    }
    let others = [
        site.closed_elsewhere.as_mut().map(|it| &mut it.stack),
        site.usual_close.as_mut().map(|it| &mut it.stack),
        site.spinning.as_mut().map(|it| &mut it.stack),
    ];
    for stack in others.into_iter().flatten() {
        redact_stack(stack);
    }
    site.why = why(site.kind, site.opened.as_ref(), site.touched.as_ref());
}

fn redact_stack(stack: &mut [Frame]) {
    for frame in stack {
        *frame = Frame { function: frame.function.take(), inlined: frame.inlined, ..Frame::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn without_details_nothing_tells_files_addresses_or_command_lines() {
        let redacted = without_details(sample::report());
        let json = serde_json::to_string(&redacted).unwrap();
        for secret in ["server.rs", "0x1f3a0", "10.0.0.4", "10.0.9.1", "51234", "secret"] {
            assert!(!json.contains(secret), "{secret} in {json}");
        }
    }

    #[test]
    fn without_details_counts_kinds_and_identity_stay() {
        let report = sample::report();
        let redacted = without_details(report.clone());
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
