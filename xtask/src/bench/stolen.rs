//! Time that a virtual machine's processors were wanted and not given: while others have it, ratios say little.

use std::fs;

use anyhow::{Context, Result};

/// The processors' time so far, in ticks.
pub struct Stolen {
    stolen: u64,
    all: u64,
}

impl Stolen {
    pub fn now() -> Result<Stolen> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        of(&text).context("/proc/stat does not begin with the time of all processors")
    }

    /// Percent of the time since `earlier`.
    pub fn percent_since(&self, earlier: &Stolen) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 * 100.0 / all as f64
    }
}

/// `cpu  user nice system idle iowait irq softirq steal …`; what guests take is part of user and nice.
fn of(text: &str) -> Option<Stolen> {
    let ticks = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Stolen { stolen: *ticks.get(7)?, all: ticks.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_a_share_of_all_time() {
        let before = of("cpu  100 0 50 800 0 0 50 0 7 7\ncpu0 1 2 3 4\n").expect("a line");
        let after = of("cpu  150 0 75 810 0 0 55 10 9 9\n").expect("a line");
        assert!((after.percent_since(&before) - 10.0).abs() < 1e-9);
        assert!(before.percent_since(&before).abs() < 1e-9);
        for text in ["", "cpu 1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  a b c d e f g h\n"] {
            assert!(of(text).is_none(), "{text}");
        }
    }
}
