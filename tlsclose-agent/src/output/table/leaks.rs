//! Half-closed sockets that a program holds, as blocks.

use super::blocks::{PROCESSES, blocks, example_lines, held_by, plural, process, processes, rounded, touch};
use super::colour::Colour;
use super::report_layout::Layout;
use super::stack;
use crate::api::{Example, Listed, Process, Report, Site};
use crate::output::filter::{Sort, order};
use tlsclose_core::model::{Status, duration::human, escape};

/// The whole report: blocks, then a line that says what they are of.
pub fn leaks(report: &Report, layout: &Layout) -> String {
    let mut sites = report.sites.clone();
    order(&mut sites, layout.sort);
    blocks(&sites, layout, block) + &summary(report)
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
        text += &format!("counts may be off: {}\n", reasons.join("; "));
    }
    text
}

fn block(text: &mut String, site: &Site, layout: &Layout) {
    *text += &heading(site, layout.colour);
    more_processes(text, site, layout);
    touch(text, "opened by", site.opened.as_ref(), layout);
    way_to_the_line(text, site);
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

/// At its limit a process opens nothing, so nobody can see where it does: until it may.
fn way_to_the_line(text: &mut String, site: &Site) {
    let full = site.processes.iter().find(|process| process.fds_exhausted_in_seconds == Some(0.0));
    let Some((pid, max)) = full.and_then(|process| Some((process.pid, process.max_fds?))) else { return };
    if site.opened.is_none() {
        *text += &format!(
            "    At its limit {pid} opens nothing. To see the line within seconds, let it open more:\n    \
             prlimit --pid {pid} --nofile={}\n",
            max.saturating_mul(2)
        );
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

fn examples(text: &mut String, site: &Site, layout: &Layout) {
    example_lines(text, site.examples.iter().map(example), layout);
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
