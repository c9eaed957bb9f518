//! Code paths that closed connections which did not end by a FIN, as blocks.

use super::{Layout, escape, plural, rounded, stack};
use crate::finding::{AbortProcess, AbortSite, Report};
use crate::output::filter::order_aborts;

/// Processes that a block shows unless it is wide.
const PROCESSES: usize = 3;

pub fn sites(report: &Report, layout: &Layout) -> String {
    let mut sites = report.aborted_sites.clone();
    order_aborts(&mut sites, layout.sort);
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
    let aborted: u64 = sites.iter().map(|site| site.aborted).sum();
    text + &match sites.len() {
        0 => format!("no connection was aborted ({since})\n"),
        count => {
            format!("{} at {} ({since})\n", plural(aborted, "aborted connection"), plural(count as u64, "site"))
        }
    }
}

/// `aborted_close  n connections  r/min  comm[pid] exe  site s`, then the causes.
fn block(text: &mut String, site: &AbortSite, layout: &Layout) {
    let who = site.processes.first().map_or_else(|| program(site), process);
    *text += &format!(
        "{}  {}  {:.1}/min  {who}  site {}\n",
        site.kind,
        plural(site.aborted, "connection"),
        rounded(site.per_minute),
        escape(&site.site)
    );
    let causes: Vec<String> = site.causes.iter().map(|(cause, count)| format!("{} {count}", cause.name())).collect();
    *text += &format!("  {}\n", causes.join("  "));
    if site.processes.len() > 1 {
        let shown = if layout.wide { usize::MAX } else { PROCESSES };
        *text += "  closed in\n";
        for one in site.processes.iter().take(shown) {
            *text += &format!("    {}  {}\n", process(one), one.aborted);
        }
        if site.processes.len() > shown {
            *text += &format!("    and {} more\n", site.processes.len() - shown);
        }
    }
    if let Some(closed) = &site.closed {
        stack::section(text, &format!("closed by {}", escape(&closed.call)), &closed.stack, layout);
    }
    for (label, sentence) in [("why", &site.why), ("fix", &site.fix)] {
        let label = layout.colour.label(label);
        *text += &format!("  {label}  {}\n", escape(sentence));
    }
}

/// All of its processes have ended, or it was nobody's.
fn program(site: &AbortSite) -> String {
    match site.comm.is_empty() {
        true => "of no program any more".to_owned(),
        false => format!("{} {}", escape(&site.comm), escape(&site.exe)).trim_end().to_owned(),
    }
}

fn process(process: &AbortProcess) -> String {
    format!("{}[{}] {}", escape(&process.comm), process.pid, escape(&process.exe))
}
