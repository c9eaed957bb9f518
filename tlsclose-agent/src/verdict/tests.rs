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
        (0..number).for_each(|_| self.history.ended(how, began));
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
    assert!((play.history.per_minute() - 12.0).abs() < 0.5, "{}", play.history.per_minute());
    play.run(600, |_| 120);
    assert_eq!(play.history.per_minute(), 0.0);
}
