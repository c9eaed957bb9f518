//! `tlsclose leaks` for people: one block for each site, with its code paths.

use super::filter::{Sort, order};
use crate::api::{Example, HolderInfo, Listed, Process, Report, Site, Who};
use tlsclose_core::model::duration::human;
use tlsclose_core::model::escape;
use tlsclose_core::model::{Status, Touch};

pub mod aborts;
mod colour;
pub mod half_open;
mod stack;
pub mod tls;

pub use colour::Colour;

/// Examples that a block shows unless it is wide.
const EXAMPLES: usize = 3;
/// Processes that a block shows unless it is wide.
const PROCESSES: usize = 3;

/// How a report is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Modules, offsets and build ids; all processes and examples.
    pub wide: bool,
    pub colour: Colour,
    pub sort: Sort,
    /// Sites shown at most.
    pub top: Option<usize>,
}

/// The whole report: blocks, then a line that says what they are of.
pub fn leaks(report: &Report, layout: &Layout) -> String {
    let mut sites = report.sites.clone();
    order(&mut sites, layout.sort);
    blocks(&sites, layout, block) + &summary(report)
}

/// The blocks of as many sites as are wanted, and how many there are beside them.
fn blocks<S: Listed>(sites: &[S], layout: &Layout, block: impl Fn(&mut String, &S, &Layout)) -> String {
    let shown = layout.top.unwrap_or(sites.len()).min(sites.len());
    let mut text = String::new();
    for site in &sites[..shown] {
        block(&mut text, site, layout);
        for (label, sentence) in ["why", "fix"].into_iter().zip(site.advice()) {
            text += &format!("  {}  {}\n", layout.colour.label(label), escape(sentence));
        }
        text.push('\n');
    }
    if shown < sites.len() {
        text += &format!("({} not shown)\n", plural((sites.len() - shown) as u64, "more site"));
    }
    text
}

/// The block of one site, without colours.
pub fn one(site: &Site) -> String {
    let layout = Layout { wide: false, colour: Colour::Off, sort: Sort::Count, top: None };
    let text = blocks(std::slice::from_ref(site), &layout, block);
    text.trim_end().to_owned() + "\n"
}

fn summary(report: &Report) -> String {
    let sockets: u64 = report.sites.iter().map(|site| site.sockets).sum();
    let leaking = report.sites.iter().filter(|site| site.status == Status::Leaking).count();
    let since = format!(
        "watching {} since {}, {} descriptors",
        escape(&report.host),
        escape(&report.watching_since),
        report.census.fds
    );
    let mut text = match report.sites.len() {
        0 => format!("no lingering sockets ({since})\n"),
        sites => format!(
            "{} at {}, {leaking} leaking ({since})\n",
            plural(sockets, "lingering socket"),
            plural(sites as u64, "site"),
        ),
    };
    if !report.tls_sites.is_empty() {
        text += &format!(
            "{} TLS connections without a goodbye: --kind tls_truncated\n",
            match report.tls_sites.len() {
                1 => "1 code path ends".to_owned(),
                sites => format!("{sites} code paths end"),
            }
        );
    }
    if !report.complete {
        let reasons: Vec<&str> = report.incomplete.iter().map(|reason| reason.in_words()).collect();
        text += &format!("counts may be too low: {}\n", reasons.join("; "));
    }
    text
}

pub(super) fn plural(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

fn block(text: &mut String, site: &Site, layout: &Layout) {
    *text += &heading(site, layout.colour);
    more_processes(text, site, layout);
    touch(text, "opened by", site.opened.as_ref(), layout);
    touch(text, "last touched by", site.touched.as_ref(), layout);
    if let Some(elsewhere) = &site.closed_elsewhere {
        let who = format!("{}[{}]", escape(&elsewhere.comm), elsewhere.pid);
        stack::section(text, &format!("closed in vain by {who}"), &elsewhere.stack, layout);
    }
    if let Some(spinning) = &site.spinning {
        let thread = spinning.tid.map_or_else(|| "?".to_owned(), |tid| tid.to_string());
        let call = escape(&spinning.call);
        let title = format!("spinning in thread {thread} of {}, {call} {:.0}/s", spinning.pid, spinning.per_second);
        stack::section(text, &title, &spinning.stack, layout);
    }
    let last_sent = site.last_sent.iter().map(|path| ("last sent by", path));
    let usually_closed = site.usual_close.iter().map(|path| ("usually closed by", path));
    for (what, path) in last_sent.chain(usually_closed) {
        stack::section(text, &format!("{what} ({})", plural(path.sockets, "socket")), &path.stack, layout);
        if !path.whole {
            stack::cut(text);
        }
    }
    accept_queues(text, site);
    examples(text, site, layout);
    if layout.wide && !site.builds.is_empty() {
        *text += &format!("  builds   {}\n", escape(&site.builds.join(" ")));
    }
}

/// `LEAKING kind  n sockets  +r/min  oldest a  comm[pid] exe  site s`
fn heading(site: &Site, colour: Colour) -> String {
    let least = if site.age_is_minimum { "at least " } else { "" };
    let mut parts = vec![
        format!("{} {}", colour.status(site.status), site.kind),
        plural(site.sockets, "socket"),
        growth(site.per_minute),
        format!("oldest {least}{}", human(site.oldest_seconds)),
    ];
    parts.push(site.processes().next().map_or_else(|| "held, holder unknown".to_owned(), process));
    if let Some(pod) = site.processes.first().and_then(|it| it.container.as_ref()) {
        parts.push(escape(&[&*pod.namespace, &pod.pod, &pod.name].join("/")).into_owned());
    }
    parts.push(format!("site {}", escape(&site.site)));
    parts.join("  ") + "\n"
}

/// How many more there are each minute.
fn growth(per_minute: Option<f64>) -> String {
    per_minute.map_or_else(|| "rate not known yet".to_owned(), |rate| format!("{:+.1}/min", rounded(rate)))
}

/// To one decimal, and never to a negative zero.
fn rounded(per_minute: f64) -> f64 {
    (per_minute * 10.0).round() / 10.0 + 0.0
}

fn process(who: Who<'_>) -> String {
    format!("{}[{}] {}", escape(who.comm), who.pid, escape(who.exe))
}

/// A list of all processes, where there is more than the one of the heading; `of` says what each has.
fn processes<S: Listed>(text: &mut String, title: &str, site: &S, of: impl Iterator<Item = String>, layout: &Layout) {
    let lines: Vec<String> =
        site.processes().zip(of).map(|(who, has)| format!("    {}  {has}\n", process(who))).collect();
    if lines.len() > 1 {
        *text += &format!("  {title}\n");
        some(text, &lines, if layout.wide { usize::MAX } else { PROCESSES });
    }
}

/// The first of the lines, and how many more there are.
fn some(text: &mut String, lines: &[String], shown: usize) {
    text.extend(lines.iter().take(shown).map(String::as_str));
    if lines.len() > shown {
        *text += &format!("    and {} more\n", lines.len() - shown);
    }
}

/// All holders, where there is more than the one of the heading or something to add.
fn more_processes(text: &mut String, site: &Site, layout: &Layout) {
    let sockets = site.processes.iter().map(|holder| plural(holder.sockets, "socket"));
    processes(text, "held by", site, sockets, layout);
    let shown = if layout.wide { usize::MAX } else { PROCESSES };
    for holder in site.processes.iter().take(shown) {
        *text += &descriptors(holder);
        bad_closes(text, holder, layout);
        if let Some(cmdline) = &holder.cmdline {
            *text += &format!("  command  {}\n", escape(&cmdline.join(" ")));
        }
    }
}

/// How far a process is from having no descriptor left.
fn descriptors(process: &Process) -> String {
    let (Some(open), Some(max)) = (process.open_fds, process.max_fds) else {
        return String::new();
    };
    let mut line = format!("  descriptors of {}  {open} of {max}", process.pid);
    match process.fds_exhausted_in_seconds {
        Some(0.0) => line += ", none left",
        Some(seconds) => line += &format!(", none left in {}", human(seconds)),
        None => {}
    }
    if process.emfile_errors > 0 {
        line += &format!(", {} (EMFILE)", plural(process.emfile_errors, "failed call"));
    }
    line + "\n"
}

/// Closing twice closes what somebody else has opened meanwhile.
fn bad_closes(text: &mut String, process: &Process, layout: &Layout) {
    let Some(bad) = &process.bad_closes else { return };
    let title = format!("{} of {} for what was not open, fd {}", plural(bad.calls, "close call"), process.pid, bad.fd);
    stack::section(text, &title, &bad.stack, layout);
}

fn touch(text: &mut String, title: &str, touch: Option<&Touch>, layout: &Layout) {
    let Some(touch) = touch else {
        *text += &format!("  {title} ?\n");
        return;
    };
    let mut title = format!("{title} {}", escape(&touch.call));
    if let Some(result) = touch.result {
        title += &format!(" = {result}");
    }
    if let Some(seconds) = touch.seconds_ago {
        title += &format!(", {} ago", human(seconds));
    }
    stack::section(text, &title, &touch.stack, layout);
    if !touch.whole && !touch.stack.is_empty() {
        stack::cut(text);
    }
}

fn accept_queues(text: &mut String, site: &Site) {
    for queue in &site.accept_queues {
        *text += &format!(
            "  accept queue of {}  {} of {}, {} given up by their peer",
            escape(&queue.local),
            queue.length,
            queue.limit,
            queue.half_closed
        );
        if queue.syn_recv > 0 {
            *text += &format!(", {} in SYN_RECV ({} unanswered)", queue.syn_recv, queue.syn_recv_unanswered);
        }
        held_by(text, &queue.holders);
        text.push('\n');
    }
}

fn held_by(text: &mut String, holders: &[HolderInfo]) {
    for holder in holders {
        *text += &format!("  {}[{}] fd {}", escape(&holder.comm), holder.pid, holder.fd);
    }
}

fn examples(text: &mut String, site: &Site, layout: &Layout) {
    example_lines(text, site.examples.iter().map(example), layout);
}

fn example_lines(text: &mut String, lines: impl Iterator<Item = String>, layout: &Layout) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        *text += "  examples\n";
        some(text, &lines, if layout.wide { usize::MAX } else { EXAMPLES });
    }
}

fn example(example: &Example) -> String {
    let mut line = format!(
        "    {} -> {}  {}  {}",
        escape(&example.local),
        escape(&example.remote),
        example.state.name(),
        human(example.age_seconds)
    );
    held_by(&mut line, &example.holders);
    if example.holder_unknown {
        line += "  held, holder unknown";
    }
    for thread in &example.blocked_threads {
        line += &format!("  thread {} of {} is in {}", thread.tid, thread.pid, escape(&thread.call));
    }
    if example.recv_queue > 0 || example.send_queue > 0 {
        line += &format!("  unread {} unsent {}", example.recv_queue, example.send_queue);
    }
    line + "\n"
}

#[cfg(test)]
mod tests;
