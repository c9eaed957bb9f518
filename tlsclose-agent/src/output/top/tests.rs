use ratatui::{Terminal, backend::TestBackend, buffer::Cell};

use super::*;
use crate::output::{agent_client::Target, sample, table::Colour};

/// A screen of 120 columns and 20 lines.
struct Screen {
    top: Top,
    terminal: Terminal<TestBackend>,
}

impl Screen {
    fn new(report: Report) -> Self {
        let terminal = Terminal::new(TestBackend::new(120, 20)).expect("a terminal");
        Self { top: Top::new(report, Sort::Count, None), terminal }
    }

    /// The screen's lines, without spaces at their ends.
    fn lines(&mut self) -> Vec<String> {
        self.terminal.draw(|frame| screen::draw(frame, &mut self.top, Colour::On)).expect("drawn");
        let buffer = self.terminal.backend().buffer();
        let line = |row: &[Cell]| row.iter().map(Cell::symbol).collect::<String>();
        buffer.content().chunks(usize::from(buffer.area.width)).map(|row| line(row).trim_end().to_owned()).collect()
    }

    fn text(&mut self) -> String {
        self.lines().join("\n")
    }

    fn press(&mut self, key: KeyCode) -> Next {
        self.top.key(KeyEvent::new(key, KeyModifiers::NONE))
    }

    fn write(&mut self, text: &str) {
        for char in text.chars() {
            self.press(KeyCode::Char(char));
        }
    }

    /// Labels of the sites from the top.
    fn sites(&self) -> Vec<String> {
        self.top.shown().into_iter().map(|site| site.site).collect()
    }
}

#[test]
fn the_list_shows_who_leaks_how_fast_and_where() {
    let mut screen = Screen::new(sample::report());
    let lines = screen.lines();
    assert_eq!(
        lines[..5],
        [
            "tlsclose  node-7  414 lingering sockets at 2 sites, 1 leaking  2026-11-20T18:31:07Z",
            "",
            "STATUS    SOCKETS▼ PER MIN  OLDEST   KIND                    WHO                     WHERE",
            "LEAKING   412      +4.1     30m33s   close_wait_eof_read     payments[4117] shop/pay handle_request (src/server.rs:131)",
            "lingering 2        +0.0     ≥5h02m   fin_wait2_held          drain[900]              site 00aa11bb22cc",
        ]
    );
    assert!(lines[19].ends_with("q end"), "{}", lines[19]);
}

#[test]
fn keys_sort_and_the_chosen_site_stays_chosen() {
    let mut screen = Screen::new(sample::report());
    assert_eq!(screen.sites(), [sample::SITE, sample::OTHER_SITE]);
    screen.press(KeyCode::Down);
    screen.press(KeyCode::Char('a'));
    assert_eq!(screen.sites(), [sample::OTHER_SITE, sample::SITE]);
    assert!(screen.text().contains("OLDEST▼"));
    let shown = screen.top.shown();
    assert_eq!(screen.top.position(&shown), Some(0), "it moved to the top, and the choice with it");
    screen.press(KeyCode::End);
    assert_eq!(screen.top.position(&shown), Some(1));
    screen.press(KeyCode::Down);
    assert_eq!(screen.top.position(&shown), Some(1), "there is nothing below");
    for (key, expected) in [('r', sample::SITE), ('a', sample::OTHER_SITE), ('c', sample::SITE)] {
        screen.press(KeyCode::Char(key));
        assert_eq!(screen.sites()[0], expected, "{key}");
    }
}

#[test]
fn a_site_opens_to_its_code_paths_and_closes_again() {
    let mut screen = Screen::new(sample::report());
    screen.press(KeyCode::Enter);
    let text = screen.text();
    for part in ["LEAKING close_wait_eof_read  412 sockets", "opened by accept4", "accept_loop  src/server.rs:88"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    screen.press(KeyCode::Char('G'));
    let text = screen.text();
    assert!(text.contains("fix  Close the connection when read returns 0."), "{text}");
    assert!(screen.top.opened.as_ref().is_some_and(|opened| opened.scroll < 100), "cut to what there is");
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("STATUS"));
}

#[test]
fn an_opened_site_that_recovers_says_so() {
    let mut screen = Screen::new(sample::report());
    screen.press(KeyCode::Enter);
    let mut recovered = sample::report();
    recovered.sites.remove(0);
    screen.top.answered(Ok(recovered));
    let text = screen.text();
    assert!(text.contains("No socket of this site lingers any more."), "{text}");
    assert!(text.contains("accept_loop"), "what it was stays: {text}");
    screen.top.answered(Ok(sample::report()));
    assert!(!screen.text().contains("any more"));
}

#[test]
fn a_filter_keeps_what_any_name_contains() {
    let both = [sample::SITE, sample::OTHER_SITE];
    let cases: [(&str, &[&str]); 9] = [
        ("shop", &both[..1]),
        ("PAYMENTS-6d8", &both[..1]),
        ("accept_loop", &both[..1]),
        ("fin_wait2", &both[1..]),
        ("/usr/bin/drain", &both[1..]),
        ("4117", &both[..1]),
        ("00aa", &both[1..]),
        ("", &both),
        ("nothing of that", &[]),
    ];
    for (text, expected) in cases {
        let mut screen = Screen::new(sample::report());
        screen.press(KeyCode::Char('/'));
        screen.write(text);
        assert_eq!(screen.sites(), expected, "{text}");
        screen.press(KeyCode::Enter);
        let shown = screen.text();
        assert_eq!(shown.contains(&format!("filter: {}", text.to_lowercase())), !text.is_empty(), "{shown}");
        assert_eq!(shown.contains("Nothing fits the filter."), expected.is_empty(), "{shown}");
        screen.press(KeyCode::Esc);
        assert_eq!(screen.sites(), both, "Esc clears it");
    }
}

#[test]
fn letters_of_a_filter_are_no_commands() {
    let mut screen = Screen::new(sample::report());
    screen.press(KeyCode::Char('/'));
    for char in "quarc".chars() {
        assert_eq!(screen.press(KeyCode::Char(char)), Next::Stay);
    }
    assert_eq!((&*screen.top.filter, screen.top.sort), ("quarc", Sort::Count));
    screen.press(KeyCode::Backspace);
    assert_eq!(screen.top.filter, "quar");
    screen.write(&"x".repeat(1000));
    assert_eq!(screen.top.filter.len(), LONGEST_FILTER);
}

#[test]
fn it_ends_when_asked() {
    for screen in [&mut Screen::new(sample::report()), &mut Screen::new(Report { sites: vec![], ..sample::report() })] {
        assert_eq!(screen.press(KeyCode::Char('q')), Next::End);
        screen.press(KeyCode::Enter);
        assert_eq!(screen.press(KeyCode::Char('q')), Next::End);
        screen.press(KeyCode::Esc);
        screen.press(KeyCode::Char('/'));
        assert_eq!(screen.top.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::End);
    }
}

#[test]
fn a_lost_agent_is_said_and_the_last_sites_stay() {
    let mut screen = Screen::new(sample::report());
    let lost = || ClientError::NoAgent(Target::Socket("/run/agent.sock".into()));
    screen.top.answered(Err(lost()));
    let text = screen.text();
    assert!(text.contains("asking again: no agent answers at /run/agent.sock"), "{text}");
    assert!(text.contains("payments"), "{text}");
    screen.top.answered(Ok(sample::report()));
    assert!(!screen.text().contains("no agent"));
}

#[test]
fn hostile_names_stay_text_in_their_place() {
    let mut report = sample::report();
    report.host = "\x1b[2Jhost".to_owned();
    let process = &mut report.sites[0].processes[0];
    process.comm = "a\x1b]0;title\x07\nb\u{202e}".to_owned();
    process.container = None;
    let opened = report.sites[0].opened.as_mut().expect("a touch");
    opened.stack[0].function = Some("fn\r\n\x1b[31m<T>".into());
    let mut screen = Screen::new(report);
    for key in [KeyCode::Home, KeyCode::Enter] {
        screen.press(key);
        let text = screen.text();
        assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
    assert!(screen.text().contains("fn\\r\\n\\u{1b}[31m<T>"), "{}", screen.text());
}

#[test]
fn every_size_of_a_terminal_is_drawn() {
    let mut many = sample::report();
    let site = many.sites[0].clone();
    many.sites.extend((0..300).map(|n| Site { site: format!("{n:012x}"), ..site.clone() }));
    for report in [sample::report(), many, Report { sites: vec![], ..sample::report() }] {
        let mut screen = Screen::new(report);
        for (width, height) in [(1, 1), (2, 3), (10, 5), (80, 24), (300, 100), (120, 4)] {
            screen.terminal.backend_mut().resize(width, height);
            for key in [KeyCode::Enter, KeyCode::End, KeyCode::PageUp, KeyCode::Esc, KeyCode::End, KeyCode::PageUp] {
                screen.press(key);
                screen.text();
            }
        }
    }
}

#[test]
fn the_chosen_site_is_always_on_the_screen() {
    let mut report = sample::report();
    let site = report.sites[0].clone();
    report.sites =
        (0..300).map(|n| Site { site: format!("{n:012x}"), touched: None, opened: None, ..site.clone() }).collect();
    let mut screen = Screen::new(report);
    for (key, expected) in [(KeyCode::End, 299), (KeyCode::PageUp, 283), (KeyCode::Home, 0), (KeyCode::PageDown, 16)] {
        let _ = screen.text();
        screen.press(key);
        let text = screen.text();
        assert!(text.contains(&format!("site {expected:012x}")), "{key:?}: no {expected} in\n{text}");
    }
}
