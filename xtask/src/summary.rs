//! What a run of the tests came to: a line for each step, and one line that counts.

use std::time::Duration;

#[derive(Default)]
pub struct Summary {
    steps: Vec<Step>,
    /// Tests that passed only when they were tried again.
    flaky: Vec<String>,
}

struct Step {
    what: String,
    counts: Counts,
    outcome: String,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Summary {
    /// A check that holds or does not.
    pub fn checked(&mut self, what: &str, success: bool, elapsed: Duration) {
        let outcome = if success { "ok" } else { "FAILED" };
        let counts = Counts { failed: u64::from(!success), ..Counts::default() };
        self.add(what, counts, format!("{outcome}, {:.1} s", elapsed.as_secs_f64()));
    }

    /// A run of tests, from what libtest printed.
    pub fn tested(&mut self, what: &str, lines: &[String], success: bool, elapsed: Duration) {
        self.counted(what, count(lines), success, elapsed);
    }

    /// A run of tests, `elsewhere` of which are counted by another run.
    pub fn tested_without(&mut self, what: &str, lines: &[String], elsewhere: u64, elapsed: Duration) {
        let mut counts = count(lines);
        let failed = counts.failed.saturating_sub(elsewhere);
        counts.failed = failed;
        self.counted(what, counts, failed == 0, elapsed);
    }

    /// A run of tests on another kernel.
    pub fn tested_elsewhere(&mut self, what: &str, passed: u64, failed: u64, success: bool, elapsed: Duration) {
        self.counted(what, Counts { passed, failed, ignored: 0 }, success, elapsed);
    }

    fn counted(&mut self, what: &str, mut counts: Counts, success: bool, elapsed: Duration) {
        if !success && counts.failed == 0 {
            counts.failed = 1; // the tests did not even compile, or one took all down with it
        }
        let Counts { passed, failed, ignored } = counts;
        let ignored = if ignored > 0 { format!(", {ignored} ignored") } else { String::new() };
        let seconds = elapsed.as_secs_f64();
        self.add(what, counts, format!("{passed} passed, {failed} failed{ignored}, {seconds:.1} s"));
    }

    /// A test failed, and passed when it was tried again: somebody has to find out why.
    pub fn flaky(&mut self, test: &str) {
        self.flaky.push(test.to_owned());
    }

    pub fn flaky_tests(&self) -> &[String] {
        &self.flaky
    }

    /// A step that could not be made.
    pub fn skipped(&mut self, what: &str, why: &str, is_failure: bool) {
        let outcome = if is_failure { "FAILED, not run" } else { "skipped" };
        let counts = Counts { failed: u64::from(is_failure), ..Counts::default() };
        self.add(what, counts, format!("{outcome}: {why}"));
    }

    pub fn failed(&self) -> bool {
        self.steps.iter().any(|step| step.counts.failed > 0)
    }

    pub fn show(&self) {
        println!();
        for step in &self.steps {
            println!("{:<28} {}", step.what, step.outcome);
        }
        let passed: u64 = self.steps.iter().map(|step| step.counts.passed).sum();
        let failed: u64 = self.steps.iter().map(|step| step.counts.failed).sum();
        println!();
        self.flaky.iter().for_each(|test| println!("flaky: {test}"));
        println!("{passed} passed, {failed} failed, {} flaky", self.flaky.len());
    }

    fn add(&mut self, what: &str, counts: Counts, outcome: String) {
        self.steps.push(Step { what: what.to_owned(), counts, outcome });
    }
}

/// The names in lines like `test findings::one ... FAILED`.
pub fn failed_tests(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect()
}

/// Adds up lines like `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`.
fn count(lines: &[String]) -> Counts {
    let mut counts = Counts::default();
    for line in lines.iter().filter_map(|line| line.strip_prefix("test result: ")) {
        for part in line.split(['.', ';']) {
            let Some((number, what)) = part.trim().split_once(' ') else {
                continue;
            };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.ignored += number,
                _ => {}
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_programs_add_up() {
        let lines = [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ];
        let counts = count(&lines.map(String::from));
        assert_eq!(counts, Counts { passed: 12, failed: 1, ignored: 1 });
    }

    #[test]
    fn tests_that_were_tried_again_count_once() {
        let lines = [
            "test a::b ... ok",
            "test c::d ... FAILED",
            "test e ... FAILED",
            "test result: FAILED. 1 passed; 2 failed",
        ];
        let lines = lines.map(String::from);
        assert_eq!(failed_tests(&lines), ["c::d", "e"]);
        for (elsewhere, failed) in [(2, false), (1, true), (0, true)] {
            let mut summary = Summary::default();
            summary.tested_without("tests", &lines, elsewhere, Duration::ZERO);
            assert_eq!((summary.steps[0].counts.passed, summary.failed()), (1, failed));
        }
    }

    #[test]
    fn tests_that_do_not_compile_are_a_failure() {
        let mut summary = Summary::default();
        summary.tested("unit tests", &[], false, Duration::ZERO);
        assert!(summary.failed());
    }
}
