//! Established connections whose peer may be gone, as blocks.

use super::blocks::{blocks, example_lines, held_by, plural, touch};
use super::report_layout::Layout;
use crate::api::{HalfOpenExample, HalfOpenSite, Report};
use crate::output::filter::order_half_open;
use tlsclose_core::model::{duration::human, escape};

pub fn sites(report: &Report, layout: &Layout) -> String {
    let mut sites = report.half_open_sites.clone();
    order_half_open(&mut sites);
    let since = format!("watching {} since {}", escape(&report.host), escape(&report.watching_since));
    let sockets: u64 = sites.iter().map(|site| site.sockets).sum();
    blocks(&sites, layout, block)
        + &match sites.len() {
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
    example_lines(text, site.examples.iter().map(example), layout);
}

fn example(example: &HalfOpenExample) -> String {
    let mut line = format!(
        "    {} -> {}  silent {}  retransmissions {}  probes {}  unacknowledged {}",
        escape(&example.local),
        escape(&example.remote),
        human(example.silent_seconds),
        example.retransmissions,
        example.probes,
        example.send_queue
    );
    held_by(&mut line, std::slice::from_ref(&example.holder));
    line + "\n"
}
