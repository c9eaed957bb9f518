//! Established connections whose peer may be gone, as blocks.

use super::{Layout, escape, held_by, plural, touch};
use crate::duration::human;
use crate::finding::{HalfOpenSite, Report};
use crate::output::filter::order_half_open;

/// Examples that a block shows unless it is wide.
const EXAMPLES: usize = 3;

pub fn sites(report: &Report, layout: &Layout) -> String {
    let mut sites = report.half_open_sites.clone();
    order_half_open(&mut sites);
    let shown = layout.top.unwrap_or(sites.len()).min(sites.len());
    let mut text = String::new();
    for site in &sites[..shown] {
        block(&mut text, site, layout);
        text.push('\n');
    }
    if shown < sites.len() {
        text += &format!("({} not shown)\n", plural((sites.len() - shown) as u64, "more site"));
    }
    let since = format!("watching {} since {}", escape(&report.host), escape(&report.watching_since));
    let sockets: u64 = sites.iter().map(|site| site.sockets).sum();
    text + &match sites.len() {
        0 => format!("no half-open connections ({since})\n"),
        count => {
            format!("{} at {} ({since})\n", plural(sockets, "half-open connection"), plural(count as u64, "site"))
        }
    }
}

/// `half_open  n sockets  comm[pid] exe  site s`, then the reasons.
fn block(text: &mut String, site: &HalfOpenSite, layout: &Layout) {
    let pid = site.processes.first().map(|process| format!("[{}]", process.pid)).unwrap_or_default();
    *text += &format!(
        "{}  {}  {}{pid} {}  site {}\n",
        site.kind,
        plural(site.sockets, "socket"),
        escape(&site.comm),
        escape(&site.exe),
        escape(&site.site)
    );
    let reasons: Vec<String> = site.reasons.iter().map(|(why, count)| format!("{} {count}", why.name())).collect();
    *text += &format!("  {}\n", reasons.join("  "));
    touch(text, "opened by", site.opened.as_ref(), layout);
    let shown = if layout.wide { usize::MAX } else { EXAMPLES };
    if !site.examples.is_empty() {
        *text += "  examples\n";
    }
    for example in site.examples.iter().take(shown) {
        *text += &format!(
            "    {} -> {}  silent {}  retransmissions {}  probes {}  unacknowledged {}",
            escape(&example.local),
            escape(&example.remote),
            human(example.silent_seconds),
            example.retransmissions,
            example.probes,
            example.send_queue
        );
        held_by(text, std::slice::from_ref(&example.holder));
        text.push('\n');
    }
    for (label, sentence) in [("why", &site.why), ("fix", &site.fix)] {
        let label = layout.colour.label(label);
        *text += &format!("  {label}  {}\n", escape(sentence));
    }
}
