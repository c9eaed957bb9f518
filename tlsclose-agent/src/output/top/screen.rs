//! The screen of `tlsclose top`, drawn into whatever size there is.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{Opened, Top};
use crate::{
    api::{Process, Site},
    output::{
        filter::Sort,
        table::{self, Colour, plural},
    },
};
use tlsclose_core::model::{Status, duration::human, escape, principal_frame};

/// Columns of a terminal that has no room for names of functions beside those of programs.
const NARROW: u16 = 100;

pub fn draw(frame: &mut Frame, top: &mut Top, colour: Colour) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    let paint = Paint(colour);
    frame.render_widget(Paragraph::new(header(top, paint)), head);
    // Without the line of titles.
    top.page = body.height.saturating_sub(1);
    match &mut top.opened {
        Some(opened) => site(frame, opened, body, paint),
        None => list(frame, top, body, paint),
    }
    frame.render_widget(Paragraph::new(footer(top)), foot);
}

/// Styles, where colour is wanted; bold and reverse are no colours.
#[derive(Clone, Copy)]
struct Paint(Colour);

impl Paint {
    fn colour(self, colour: Color) -> Style {
        match self.0 {
            Colour::On => Style::new().fg(colour),
            Colour::Off => Style::new(),
        }
    }

    fn status(self, status: Status) -> Style {
        match status {
            Status::Leaking => self.colour(Color::Red).add_modifier(Modifier::BOLD),
            Status::Lingering => self.colour(Color::Yellow),
        }
    }
}

fn header(top: &Top, paint: Paint) -> Vec<Line<'static>> {
    let report = top.report();
    let sockets: u64 = report.sites.iter().map(|site| site.sockets).sum();
    let leaking = report.sites.iter().filter(|site| site.status == Status::Leaking).count();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = Line::from(vec![
        Span::styled(format!("tlsclose  {}", escape(&report.host)), bold),
        Span::raw(format!(
            "  {} at {}, {leaking} leaking  {}",
            plural(sockets, "lingering socket"),
            plural(report.sites.len() as u64, "site"),
            escape(&report.generated_at)
        )),
    ]);
    if !report.complete {
        let why = report.incomplete.first().map_or("", |reason| reason.in_words());
        first.push_span(Span::styled(format!("  counts may be off: {why}"), paint.status(Status::Lingering)));
    }
    let second = match &top.trouble {
        Some(trouble) => {
            Line::styled(format!("as of then; asking again: {}", escape(trouble)), paint.status(Status::Leaking))
        }
        None if top.typing || !top.filter.is_empty() => {
            Line::raw(format!("filter: {}{}", escape(&top.filter), if top.typing { "▏" } else { "" }))
        }
        None => Line::default(),
    };
    vec![first, second]
}

fn footer(top: &Top) -> &'static str {
    match (top.typing, &top.opened) {
        (true, _) => "type a namespace, pod, process, function, kind or site   Enter keeps it   Esc clears it",
        (false, Some(_)) => "↑ ↓ scroll   Esc back   q end",
        (false, None) => "↑ ↓ choose   Enter open   c r a sort by count, rate, age   / filter   q end",
    }
}

fn list(frame: &mut Frame, top: &Top, area: Rect, paint: Paint) {
    let shown = top.shown();
    if shown.is_empty() {
        let why = if top.report().sites.is_empty() { "No socket lingers." } else { "Nothing fits the filter." };
        frame.render_widget(Paragraph::new(why), area);
        return;
    }
    let titles = [
        ("STATUS", None),
        ("SOCKETS", Some(Sort::Count)),
        ("PER MIN", Some(Sort::Rate)),
        ("OLDEST", Some(Sort::Age)),
        ("KIND", None),
        ("WHO", None),
        ("WHERE", None),
    ];
    let title = |(name, sort): (&str, Option<Sort>)| match sort == Some(top.sort) {
        true => Cell::new(format!("{name}▼")),
        false => Cell::new(name.to_owned()),
    };
    // Where it is too narrow, the place is left to the opened site.
    let columns = if area.width < NARROW { titles.len() - 1 } else { titles.len() };
    let header = Row::new(titles.map(title).into_iter().take(columns)).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = [
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(23),
        Constraint::Fill(2),
        Constraint::Fill(3),
    ];
    let rows = shown.iter().map(|site| row(site, paint));
    let table = Table::new(rows, &widths[..columns])
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .column_spacing(1);
    let mut state = TableState::new().with_selected(top.position(&shown));
    frame.render_stateful_widget(table, area, &mut state);
}

fn row(site: &Site, paint: Paint) -> Row<'static> {
    let status = match site.status {
        Status::Leaking => "LEAKING",
        Status::Lingering => "lingering",
    };
    let least = if site.age_is_minimum { "≥" } else { "" };
    Row::new([
        Cell::new(status).style(paint.status(site.status)),
        Cell::new(site.sockets.to_string()),
        Cell::new(
            site.per_minute
                .map_or_else(|| "?".to_owned(), |rate| format!("{:+.1}", (rate * 10.0).round() / 10.0 + 0.0)),
        ),
        Cell::new(format!("{least}{}", human(site.oldest_seconds))),
        Cell::new(site.kind.to_string()),
        Cell::new(who(site.processes.first())),
        Cell::new(whereabouts(site)),
    ])
}

/// `comm[pid] namespace/pod/container`
fn who(process: Option<&Process>) -> String {
    let Some(process) = process else { return "?".to_owned() };
    let name = format!("{}[{}]", process.comm, process.pid);
    let Some(place) = &process.container else { return escape(&name).into_owned() };
    let container = if place.name.is_empty() { place.id.get(..12).unwrap_or(&place.id) } else { &*place.name };
    let parts = [&*place.namespace, &*place.pod, container];
    let pod: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    escape(&format!("{name} {}", pod.join("/"))).into_owned()
}

/// The innermost frames that tell the site: where it learned of the end, else where it was opened.
fn whereabouts(site: &Site) -> String {
    let touch = site.touched.as_ref().or(site.opened.as_ref());
    let principal = touch.and_then(|touch| principal_frame::principal(&touch.stack));
    let place = principal.map_or_else(|| format!("site {}", site.site), principal_frame::describe);
    escape(&place).into_owned()
}

fn site(frame: &mut Frame, opened: &mut Opened, area: Rect, paint: Paint) {
    let mut text = table::one(&opened.site);
    if opened.is_gone {
        text.insert_str(0, "No socket of this site lingers any more. It was:\n\n");
    }
    let style = |line: &str| match line {
        line if line.starts_with("LEAKING") => paint.status(Status::Leaking),
        line if line.starts_with("LINGERING") => paint.status(Status::Lingering),
        line if line.starts_with("  ") && !line.starts_with("   ") => paint.colour(Color::Cyan),
        _ => Style::new(),
    };
    let lines: Vec<Line> = text.lines().map(|line| Line::styled(line.to_owned(), style(line))).collect();
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    let lines = u16::try_from(text.line_count(area.width)).unwrap_or(u16::MAX);
    opened.scroll = opened.scroll.min(lines.saturating_sub(area.height));
    let scroll = opened.scroll;
    frame.render_widget(text.scroll((scroll, 0)), area);
}
