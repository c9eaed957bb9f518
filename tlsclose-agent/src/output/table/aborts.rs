//! Code paths that closed connections which did not end by a FIN, as blocks.

use super::blocks::{blocks, plural, process, processes, rounded};
use super::report_layout::Layout;
use super::stack;
use crate::api::{AbortSite, Listed, Report};
use crate::output::filter::order_aborts;
use tlsclose_core::model::escape;

pub fn sites(report: &Report, layout: &Layout) -> String {
    let mut sites = report.aborted_sites.clone();
    order_aborts(&mut sites, layout.sort);
    let since = format!("watching {} since {}", escape(&report.host), escape(&report.watching_since));
    let aborted: u64 = sites.iter().map(|site| site.aborted).sum();
    blocks(&sites, layout, block)
        + &match sites.len() {
            0 => format!("no connection was aborted ({since})\n"),
            count => {
                format!("{} at {} ({since})\n", plural(aborted, "aborted connection"), plural(count as u64, "site"))
            }
        }
}

/// `aborted_close  n connections  r/min  comm[pid] exe  site s`, then the causes.
fn block(text: &mut String, site: &AbortSite, layout: &Layout) {
    let who = site.processes().next().map_or_else(|| program(site), process);
    *text += &format!(
        "{}  {}  {:.1}/min  {who}  site {}\n",
        site.kind,
        plural(site.aborted, "connection"),
        rounded(site.per_minute),
        escape(&site.site)
    );
    let causes: Vec<String> = site.causes.iter().map(|(cause, count)| format!("{} {count}", cause.name())).collect();
    *text += &format!("  {}\n", causes.join("  "));
    let aborted = site.processes.iter().map(|process| process.aborted.to_string());
    processes(text, "closed in", site, aborted, layout);
    if let Some(closed) = &site.closed {
        stack::section(text, &format!("closed by {}", escape(&closed.call)), &closed.stack, layout);
    }
}

/// All of its processes have ended, or it was nobody's.
fn program(site: &AbortSite) -> String {
    match site.comm.is_empty() {
        true => "of no program any more".to_owned(),
        false => format!("{} {}", escape(&site.comm), escape(&site.exe)).trim_end().to_owned(),
    }
}
