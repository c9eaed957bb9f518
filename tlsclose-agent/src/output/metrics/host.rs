//! What this host gives, and which build of the agent runs on it.

use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const FEATURE: Family<1> = Family::new(
    Type::Gauge,
    "tlsclose_feature",
    ["feature"],
    "Whether this host allows a feature, as tlsclose doctor explains it.",
);
const BUILD: Family<3> = Family::new(
    Type::Gauge,
    "tlsclose_build_info",
    ["version", "revision", "kernel"],
    "The agent's build and the kernel it runs on.",
);

/// The commit this was built from, where the build knew it.
const REVISION: &str = match option_env!("TLSCLOSE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![FEATURE.declared(), BUILD.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    FEATURE.write(sink, snapshot.features.iter().map(|feature| ([&*feature.name], u64::from(feature.available))))?;
    BUILD.write(sink, [([env!("CARGO_PKG_VERSION"), REVISION, &snapshot.report.kernel], 1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn features_and_build_are_exported() {
        let exposition = exposition(&sample::snapshot());
        assert_exposes(
            &exposition,
            "tlsclose_feature{feature=\"census\"} 1\ntlsclose_feature{feature=\"eof_stacks\"} 0\n",
        );
        let version = env!("CARGO_PKG_VERSION");
        assert_exposes(
            &exposition,
            &format!("tlsclose_build_info{{version=\"{version}\",revision=\"{REVISION}\",kernel=\"6.12.117\"}} 1\n"),
        );
    }
}
