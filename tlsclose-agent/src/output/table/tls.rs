//! Code paths that end TLS connections without a goodbye, as blocks.

use super::blocks::{blocks, plural, process, processes, rounded};
use super::report_layout::Layout;
use super::stack;
use crate::api::{Listed, Report, TlsSite};
use crate::output::filter::order_tls;
use tlsclose_core::model::escape;

pub fn sites(report: &Report, layout: &Layout) -> String {
    let mut sites = report.tls_sites.clone();
    order_tls(&mut sites, layout.sort);
    let since = format!("watching {} since {}", escape(&report.host), escape(&report.watching_since));
    let truncated: u64 = sites.iter().map(|site| site.outcomes.truncated).sum();
    blocks(&sites, layout, block)
        + &match sites.len() {
            0 => format!("no TLS connection closed without a goodbye ({since})\n"),
            count => format!(
                "{} closed without a goodbye at {} ({since})\n",
                plural(truncated, "TLS connection"),
                plural(count as u64, "site")
            ),
        }
}

/// `tls_truncated  n of m closes (s %)  r/min  comm[pid] exe  site s`, then how all closes ended.
fn block(text: &mut String, site: &TlsSite, layout: &Layout) {
    let who = site.processes().next().map_or_else(|| program(site), process);
    let outcomes = &site.outcomes;
    *text += &format!(
        "{}  {} of {} ({:.1} %)  {:.1}/min  {who}  site {}\n",
        site.kind,
        outcomes.truncated,
        plural(site.closes, "close"),
        site.share * 100.0,
        rounded(site.per_minute),
        escape(&site.site)
    );
    let after_fin = match site.peer_first {
        0 => String::new(),
        count => format!(" ({count} after the peer's FIN)"),
    };
    *text += &format!(
        "  clean {}  truncated {}{after_fin}  unanswered {}  aborted {}  unknown {}\n",
        outcomes.clean, outcomes.truncated, outcomes.unanswered, outcomes.aborted, outcomes.unknown
    );
    let closes =
        site.processes.iter().map(|process| format!("{} of {}", process.truncated, plural(process.closes, "close")));
    processes(text, "closed in", site, closes, layout);
    if let Some(closed) = &site.closed {
        stack::section(text, &format!("closed by {}", escape(&closed.call)), &closed.stack, layout);
    }
}

/// All of its processes have ended.
fn program(site: &TlsSite) -> String {
    format!("{} {}", escape(&site.comm), escape(&site.exe)).trim_end().to_owned()
}
