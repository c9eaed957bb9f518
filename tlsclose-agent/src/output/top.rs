//! `tlsclose top`: what the screen shows, and what the keys do. Knows no terminal.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    agent_client::ClientError,
    filter::{Sort, order},
};
use crate::api::{Report, Site};
use tlsclose_core::model::Kind;

pub mod screen;
mod search;

use self::search::contains;

/// Longest text to filter by, in characters.
const LONGEST_FILTER: usize = 100;

/// What to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Stay,
    End,
}

/// Which row: sites without a sampled code path have the same label in several programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    site: String,
    kind: Kind,
    exe: Option<String>,
}

impl Row {
    fn of(site: &Site) -> Self {
        let exe = site.processes.first().map(|process| process.exe.clone());
        Self { site: site.site.clone(), kind: site.kind, exe }
    }
}

/// The site that fills the screen.
#[derive(Debug)]
pub struct Opened {
    row: Row,
    /// As it was last seen.
    pub site: Site,
    pub is_gone: bool,
    /// Lines above the screen; the view cuts it to what there is.
    pub scroll: u16,
}

#[derive(Debug)]
pub struct Top {
    report: Report,
    limit: Option<usize>,
    pub sort: Sort,
    /// Text that a site must contain, in lower case.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    chosen: Option<Row>,
    pub opened: Option<Opened>,
    /// Why the last question had no answer.
    pub trouble: Option<String>,
    /// Rows that fit on the screen, as last drawn.
    pub page: u16,
}

impl Top {
    pub fn new(report: Report, sort: Sort, limit: Option<usize>) -> Self {
        Self {
            report,
            limit,
            sort,
            filter: String::new(),
            typing: false,
            chosen: None,
            opened: None,
            trouble: None,
            page: 10,
        }
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    /// A new report, or why there is none: then the last one stays.
    pub fn answered(&mut self, answer: Result<Report, ClientError>) {
        match answer {
            Ok(report) => {
                self.report = report;
                self.trouble = None;
                if let Some(opened) = &mut self.opened {
                    let now = self.report.sites.iter().find(|site| Row::of(site) == opened.row);
                    opened.is_gone = now.is_none();
                    if let Some(site) = now {
                        opened.site = site.clone();
                    }
                }
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// The sites that the filter leaves, in order.
    pub fn shown(&self) -> Vec<Site> {
        let mut sites: Vec<Site> =
            self.report.sites.iter().filter(|site| contains(site, &self.filter)).cloned().collect();
        order(&mut sites, self.sort);
        sites.truncate(self.limit.unwrap_or(usize::MAX));
        sites
    }

    /// Where the chosen site is among those shown; the first where it has gone.
    pub fn position(&self, shown: &[Site]) -> Option<usize> {
        let found = self.chosen.as_ref().and_then(|row| shown.iter().position(|site| Row::of(site) == *row));
        found.or((!shown.is_empty()).then_some(0))
    }

    pub fn key(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Next::End } else { Next::Stay };
        }
        match (self.typing, &self.opened) {
            (true, _) => self.key_of_filter(key.code),
            (false, Some(_)) => return self.key_of_site(key.code),
            (false, None) => return self.key_of_list(key.code),
        }
        Next::Stay
    }

    fn key_of_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(char) if self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.extend(char.to_lowercase());
            }
            _ => {}
        }
    }

    fn key_of_site(&mut self, key: KeyCode) -> Next {
        let Some(opened) = &mut self.opened else { return Next::Stay };
        let page = self.page.max(1);
        match key {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Left => self.opened = None,
            KeyCode::Up | KeyCode::Char('k') => opened.scroll = opened.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => opened.scroll = opened.scroll.saturating_add(1),
            KeyCode::PageUp => opened.scroll = opened.scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => opened.scroll = opened.scroll.saturating_add(page),
            KeyCode::Home | KeyCode::Char('g') => opened.scroll = 0,
            KeyCode::End | KeyCode::Char('G') => opened.scroll = u16::MAX,
            _ => {}
        }
        Next::Stay
    }

    fn key_of_list(&mut self, key: KeyCode) -> Next {
        let page = isize::from(i16::try_from(self.page).unwrap_or(i16::MAX)).max(1);
        match key {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('c') => self.sort = Sort::Count,
            KeyCode::Char('r') => self.sort = Sort::Rate,
            KeyCode::Char('a') => self.sort = Sort::Age,
            KeyCode::Enter | KeyCode::Right => self.open(),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(page),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            _ => {}
        }
        Next::Stay
    }

    fn go(&mut self, rows: isize) {
        let shown = self.shown();
        let Some(at) = self.position(&shown) else { return };
        let to = at.saturating_add_signed(rows).min(shown.len() - 1);
        self.chosen = Some(Row::of(&shown[to]));
    }

    fn open(&mut self) {
        let shown = self.shown();
        let Some(at) = self.position(&shown) else { return };
        let row = Row::of(&shown[at]);
        self.chosen = Some(row.clone());
        self.opened = Some(Opened { row, site: shown[at].clone(), is_gone: false, scroll: 0 });
    }
}

#[cfg(test)]
mod tests;
