//! What was left of a load while somebody watched.

/// Requests per second in one round: the sums of two loads with nobody watching, around two with
/// somebody. What slows the machine steadily, for a while or for good, cancels out.
pub struct Round {
    pub without: f64,
    pub with: f64,
}

pub fn ratios(rounds: &[Round]) -> Vec<f64> {
    rounds.iter().map(|round| round.with / round.without).collect()
}
