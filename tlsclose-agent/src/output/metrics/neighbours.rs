//! What else runs full when connections do not end.

use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const SYNCOOKIES: Family<0> = Family::new(
    Type::Counter,
    "tlsclose_syncookies_sent_total",
    [],
    "SYN cookies sent: a listener's queue of half-open connections was full.",
);
const ENTRIES: Family<0> =
    Family::new(Type::Gauge, "tlsclose_conntrack_entries", [], "Connections that netfilter tracks, where it does.");
const LIMIT: Family<0> =
    Family::new(Type::Gauge, "tlsclose_conntrack_limit", [], "Connections that netfilter can track.");

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![SYNCOOKIES.declared(), ENTRIES.declared(), LIMIT.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    SYNCOOKIES.write(sink, [([], snapshot.syncookies)])?;
    let Some(conntrack) = snapshot.conntrack else { return Ok(()) };
    ENTRIES.write(sink, [([], conntrack.entries)])?;
    LIMIT.write(sink, [([], conntrack.limit)])
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn neighbours_are_exported() {
        let exposition = exposition(&sample::snapshot());
        for line in [
            "tlsclose_syncookies_sent_total 11\n",
            "tlsclose_conntrack_entries 300\n",
            "tlsclose_conntrack_limit 262144\n",
        ] {
            assert_exposes(&exposition, line);
        }
    }
}
