use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(600);
const STEP: u64 = 5;

/// Runs a history in steps of five seconds; each step may end sockets and sets a count.
struct Play {
    history: History,
    second: u64,
    descriptors: Descriptors,
    ever_leaking: bool,
}

impl Play {
    fn new() -> Self {
        Self { history: History::default(), second: 1000, descriptors: Descriptors::default(), ever_leaking: false }
    }

    fn now(&self) -> Moment {
        Moment(self.second * 1_000_000_000)
    }

    fn step(&mut self, count: u64) -> Status {
        self.step_with(Count { lingering: count, ..Count::default() })
    }

    fn step_with(&mut self, count: Count) -> Status {
        self.second += STEP;
        let status = self.history.update(self.now(), count, WINDOW, self.descriptors);
        self.ever_leaking |= status == Status::Leaking;
        status
    }

    /// `count(seconds)` for that long.
    fn run(&mut self, seconds: u64, count: impl Fn(u64) -> u64) -> Status {
        (0..seconds / STEP).map(|i| self.step(count(i * STEP))).last().unwrap()
    }

    fn end(&mut self, how: End, number: u64, age: Duration) {
        let began = self.now().minus(age);
        (0..number).for_each(|_| self.history.ended(how, began, false));
    }
}

#[test]
fn a_slow_leak_is_found() {
    let mut play = Play::new();
    play.run(600, |_| 0);
    assert_eq!(play.run(700, |t| t / 60), Status::Leaking, "one socket a minute");
}

#[test]
fn two_sockets_are_not_a_leak() {
    let mut play = Play::new();
    play.run(3600, |t| (t / 600).min(2));
    assert!(!play.ever_leaking);
}

#[test]
fn a_pool_that_warms_up_and_stays_is_not_a_leak() {
    let mut play = Play::new();
    play.run(3600, |t| (t / 4).min(50));
    assert!(!play.ever_leaking);
}

#[test]
fn a_pool_that_recycles_while_it_warms_up_is_not_a_leak() {
    let mut play = Play::new();
    for t in 0..720u64 {
        play.end(End::Closed, 1, Duration::from_secs(30));
        play.step((t / 4).min(50));
    }
    assert!(!play.ever_leaking);
}

#[test]
fn a_sawtooth_pool_is_not_a_leak() {
    let mut play = Play::new();
    for _ in 0..8 {
        play.run(200, |t| t / 5);
        play.end(End::Closed, 40, Duration::from_secs(100));
    }
    assert!(!play.ever_leaking);
}

#[test]
fn a_plateau_at_the_descriptor_limit_is_a_leak() {
    let mut play = Play::new();
    play.descriptors = Descriptors { sockets: 900, open: 1000, limit: 1024 };
    assert_eq!(play.step(900), Status::Leaking);
    assert_eq!(play.run(7200, |_| 900), Status::Leaking, "it cannot grow any more");
}

#[test]
fn few_sockets_in_a_full_process_are_not_to_blame() {
    let mut play = Play::new();
    play.descriptors = Descriptors { sockets: 20, open: 1000, limit: 1024 };
    play.run(600, |_| 20);
    assert!(!play.ever_leaking);
}

#[test]
fn a_process_without_descriptors_is_an_incident_whatever_fills_it() {
    for (sockets, open, expected) in
        [(3, 1024, Status::Leaking), (2, 1024, Status::Lingering), (3, 1023, Status::Lingering)]
    {
        let mut play = Play::new();
        play.descriptors = Descriptors { sockets, open, limit: 1024 };
        assert_eq!(play.step(sockets), expected, "{sockets} lingering, {open} open");
    }
}

#[test]
fn a_deploy_ends_the_leak_and_the_next_process_is_judged_anew() {
    let mut play = Play::new();
    play.run(600, |_| 0);
    assert_eq!(play.run(1800, |t| t / 10), Status::Leaking);
    play.end(End::ProcessExit, 180, Duration::from_secs(900));
    assert_eq!(play.step(0), Status::Lingering);
    assert_eq!(play.run(1800, |t| t / 10), Status::Leaking, "the new process leaks too");
}

#[test]
fn an_agent_restart_under_a_stable_pool_is_no_leak() {
    let mut play = Play::new();
    play.run(3600, |_| 50);
    assert!(!play.ever_leaking);
}

#[test]
fn an_agent_restart_under_a_leak_finds_it_again() {
    let mut play = Play::new();
    assert_eq!(play.run(900, |t| 5000 + t / 10), Status::Leaking);
}

#[test]
fn it_stays_leaking_until_half_of_the_peak_is_gone() {
    let mut play = Play::new();
    play.run(600, |_| 0);
    play.run(1200, |t| t / 10);
    assert_eq!(play.run(600, |_| 119), Status::Leaking);
    assert_eq!(play.step(61), Status::Leaking);
    assert_eq!(play.step(59), Status::Lingering);
}

#[test]
fn growth_per_minute_is_net_and_over_five_minutes() {
    let mut play = Play::new();
    play.run(600, |t| t / 5);
    let rate = play.history.per_minute().unwrap();
    assert!((rate - 12.0).abs() < 0.5, "{rate}");
    play.run(600, |_| 120);
    assert_eq!(play.history.per_minute(), Some(0.0));
}

#[test]
fn a_rate_is_not_known_before_two_censuses() {
    let mut play = Play::new();
    assert_eq!(play.history.per_minute(), None);
    play.step(300);
    assert_eq!(play.history.per_minute(), None, "one census is a base line");
    play.step(302);
    assert_eq!(play.history.per_minute(), Some(24.0));
}

/// An idle pool of 300 whose sockets began to be overdue one after the other was `+1331.1/min, none left in 14m48s`.
#[test]
fn what_is_older_than_the_agent_is_no_growth() {
    let mut play = Play::new();
    for adopted in (0..=300u64).step_by(3).chain([300; 60]) {
        play.step_with(Count { lingering: adopted, adopted, base_line: adopted.cast_signed() });
        assert!(matches!(play.history.per_minute(), None | Some(0.0)), "{:?}", play.history.per_minute());
    }
    assert!(!play.ever_leaking);
    // What comes under watch is, and what goes counts once.
    for fresh in 1..=12 {
        play.step_with(Count { lingering: 300 + fresh, adopted: 300, base_line: 300 });
    }
    assert_eq!(play.history.per_minute().map(f64::round), Some(2.0));
}

#[test]
fn a_pool_from_before_the_agent_that_turns_over_is_no_leak() {
    let mut play = Play::new();
    for fresh in (0..=50u64).chain([50; 200]) {
        let began = play.now().minus(Duration::from_secs(900));
        play.history.ended(End::Closed, began, fresh < 50);
        play.step_with(Count { lingering: 50, adopted: 50 - fresh, base_line: 50 });
        assert!(matches!(play.history.per_minute(), None | Some(0.0)), "{:?}", play.history.per_minute());
    }
    assert!(!play.ever_leaking);
}

#[test]
fn a_full_process_leaks_whenever_its_sockets_came() {
    let mut play = Play::new();
    play.descriptors = Descriptors { sockets: 900, open: 1000, limit: 1024 };
    let adopted = Count { lingering: 900, adopted: 900, base_line: 900 };
    assert_eq!(play.step_with(adopted), Status::Leaking);
    assert_eq!(play.step_with(adopted), Status::Leaking);
    assert_eq!(play.step_with(Count { lingering: 450, adopted: 450, base_line: 900 }), Status::Lingering);
}

/// All that ever happened, and the rule as its words say it: worked out from the beginning each time.
#[derive(Default)]
struct Model {
    /// Of each update: its moment, its count, and whether a slice began with it.
    updates: Vec<(Moment, u64, bool)>,
    /// Of each end: after how many updates it was, and when the socket began to linger.
    ends: Vec<(usize, Moment)>,
    peak: Option<u64>,
}

impl Model {
    fn update(&mut self, now: Moment, count: u64) -> Status {
        let last_slice = self.updates.iter().rev().find(|(.., begins)| *begins);
        let begins = last_slice.is_none_or(|(start, ..)| now.since(*start) >= WINDOW / 5);
        self.updates.push((now, count, begins));
        self.peak = match self.peak {
            None => self.grows().then_some(count),
            Some(peak) => Some(peak.max(count)).filter(|peak| count * 2 > *peak),
        };
        if self.peak.is_some() { Status::Leaking } else { Status::Lingering }
    }

    fn grows(&self) -> bool {
        let starts: Vec<usize> = (0..self.updates.len()).filter(|at| self.updates[*at].2).collect();
        let window = &starts[starts.len().saturating_sub(5)..];
        let (first, lingering) = (window[0], self.updates.last().unwrap().1);
        let is_maximum =
            |at: usize| self.updates[..at].iter().map(|update| update.1).max().unwrap_or(0) < self.updates[at].1;
        let ends_of = |slice: usize| starts.iter().copied().find(|start| *start > slice).unwrap_or(self.updates.len());
        let slices_with_maximum = window.iter().filter(|start| (**start..ends_of(**start)).any(is_maximum)).count();
        let in_window = || self.ends.iter().filter(|(after, _)| *after > first);
        let older = in_window().filter(|(_, began)| *began < self.updates[first].0).count() as u64;
        let at_start = first.checked_sub(1).map_or(0, |before| self.updates[before].1);
        lingering >= 3
            && slices_with_maximum >= 3
            && (older == 0 || older * 10 < at_start)
            && (in_window().count() as u64) * 10 < lingering
    }
}

proptest! {
    /// Sockets begin to linger and are closed at random, the oldest or the youngest: every status is the model's.
    #[test]
    fn the_verdict_agrees_with_a_plain_model(
        steps in prop::collection::vec((0usize..3, 0usize..40, any::<bool>(), 1u64..12), 1..150),
    ) {
        let (mut history, mut model) = (History::default(), Model::default());
        let (mut sockets, mut second) = (VecDeque::new(), 1000);
        for (begin, end, oldest, span) in steps {
            second += span * STEP;
            let now = Moment(second * 1_000_000_000);
            // Rarely more than one, so that leaks are among the histories.
            for _ in 0..end.saturating_sub(37) {
                let began = if oldest { sockets.pop_front() } else { sockets.pop_back() };
                if let Some(began) = began {
                    history.ended(End::Closed, began, false);
                    model.ends.push((model.updates.len(), began));
                }
            }
            sockets.extend(std::iter::repeat_n(now, begin));
            let count = sockets.len() as u64;
            let status = history.update(now, Count { lingering: count, ..Count::default() }, WINDOW, Descriptors::default());
            prop_assert_eq!(status, model.update(now, count));
        }
    }
}
