//! What the blocks of all kinds of sites are made of.

use super::report_layout::Layout;
use super::stack;
use crate::api::{HolderInfo, Listed, Who};
use tlsclose_core::model::{Touch, duration::human, escape};

/// Examples that a block shows unless it is wide.
const EXAMPLES: usize = 3;
/// Processes that a block shows unless it is wide.
pub const PROCESSES: usize = 3;

/// The blocks of as many sites as are wanted, and how many there are beside them.
pub fn blocks<S: Listed>(sites: &[S], layout: &Layout, block: impl Fn(&mut String, &S, &Layout)) -> String {
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

pub fn plural(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// To one decimal, and never to a negative zero.
pub fn rounded(per_minute: f64) -> f64 {
    (per_minute * 10.0).round() / 10.0 + 0.0
}

pub fn process(who: Who<'_>) -> String {
    format!("{}[{}] {}", escape(who.comm), who.pid, escape(who.exe))
}

/// A list of all processes, where there is more than the one of the heading; `of` says what each has.
pub fn processes<S: Listed>(
    text: &mut String,
    title: &str,
    site: &S,
    of: impl Iterator<Item = String>,
    layout: &Layout,
) {
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

pub fn touch(text: &mut String, title: &str, touch: Option<&Touch>, layout: &Layout) {
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

pub fn held_by(text: &mut String, holders: &[HolderInfo]) {
    for holder in holders {
        *text += &format!("  {}[{}] fd {}", escape(&holder.comm), holder.pid, holder.fd);
    }
}

pub fn example_lines(text: &mut String, lines: impl Iterator<Item = String>, layout: &Layout) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        *text += "  examples\n";
        some(text, &lines, if layout.wide { usize::MAX } else { EXAMPLES });
    }
}
