//! What a snapshot looks like to clients, made once and shared by all of them.
//!
//! So the memory that slow clients can hold does not grow with their number.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use hyper::body::Bytes;

use super::redact::without_details;
use crate::api::Report;
use crate::api::Snapshot;
use crate::output::doctor::Doctor;
use crate::output::metrics::snapshot_text;
use crate::output::metrics::text::Format;

/// A snapshot and the bodies made of it so far.
pub struct Rendered {
    pub snapshot: Arc<Snapshot>,
    openmetrics: OnceLock<Bytes>,
    prometheus: OnceLock<Bytes>,
    full: OnceLock<Bytes>,
    redacted: OnceLock<Bytes>,
    redacted_report: OnceLock<Report>,
    doctor: OnceLock<Bytes>,
}

impl Rendered {
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            openmetrics: OnceLock::new(),
            prometheus: OnceLock::new(),
            full: OnceLock::new(),
            redacted: OnceLock::new(),
            redacted_report: OnceLock::new(),
            doctor: OnceLock::new(),
        }
    }

    /// The metrics of the snapshot, without their end.
    pub fn metrics(&self, format: Format) -> Bytes {
        let cell = match format {
            Format::OpenMetrics => &self.openmetrics,
            Format::Prometheus => &self.prometheus,
        };
        cell.get_or_init(|| snapshot_text(&self.snapshot, format).into()).clone()
    }

    /// The report, with or without details.
    pub fn report(&self, details: bool) -> &Report {
        match details {
            true => &self.snapshot.report,
            false => self.redacted_report.get_or_init(|| without_details(&self.snapshot.report)),
        }
    }

    /// The whole report as JSON.
    pub fn report_json(&self, details: bool) -> Bytes {
        let cell = if details { &self.full } else { &self.redacted };
        cell.get_or_init(|| json(self.report(details))).clone()
    }

    pub fn doctor_json(&self) -> Bytes {
        self.doctor.get_or_init(|| json(&Doctor::of(&self.snapshot))).clone()
    }
}

/// One line of JSON.
pub fn json(value: &impl serde::Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).expect("the answers' types always serialize");
    text.push(b'\n');
    text.into()
}

/// The newest snapshot's bodies.
pub struct AnswerCache {
    snapshots: Arc<ArcSwap<Snapshot>>,
    newest: ArcSwap<Rendered>,
}

impl AnswerCache {
    pub fn new(snapshots: Arc<ArcSwap<Snapshot>>) -> Self {
        let newest = ArcSwap::from_pointee(Rendered::new(snapshots.load_full()));
        Self { snapshots, newest }
    }

    pub fn newest(&self) -> Arc<Rendered> {
        let snapshot = self.snapshots.load_full();
        let rendered = self.newest.load_full();
        if Arc::ptr_eq(&rendered.snapshot, &snapshot) {
            return rendered;
        }
        let rendered = Arc::new(Rendered::new(snapshot));
        self.newest.store(Arc::clone(&rendered));
        rendered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn a_body_is_made_once_for_each_snapshot() {
        let snapshots = Arc::new(ArcSwap::from_pointee(sample::snapshot()));
        let cache = AnswerCache::new(Arc::clone(&snapshots));
        let first = cache.newest().report_json(true);
        assert_eq!(first.as_ptr(), cache.newest().report_json(true).as_ptr());
        let mut next = sample::snapshot();
        next.report.host = "node-8".to_owned();
        snapshots.store(Arc::new(next));
        let second = cache.newest().report_json(true);
        assert!(String::from_utf8_lossy(&second).contains("node-8"));
    }
}
