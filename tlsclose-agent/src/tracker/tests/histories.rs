//! Random histories of sockets, against the ledger and a plain model.

use proptest::prelude::*;

use super::*;

/// One step of a random history: which sockets are seen, in which state, and how far they moved.
fn step() -> impl Strategy<Value = Vec<(u64, u8, u32)>> {
    let states = prop::sample::select(vec![state::CLOSE_WAIT, state::FIN_WAIT2, state::CLOSE]);
    prop::collection::vec((0u64..6, states, 0u32..3), 0..8)
}

proptest! {
    /// Whatever happens: lingered = ended + still lingering, for adopted sockets and others apart.
    #[test]
    fn the_ledger_balances(steps in prop::collection::vec(step(), 1..40)) {
        let mut tracker = Tracker::default();
        let (mut began, mut ended) = ([0i64; 2], [0i64; 2]);
        for (i, sockets) in steps.iter().enumerate() {
            let records: Vec<Holder> = sockets
                .iter()
                .map(|(sk, state, moved)| Holder { write_seq: *moved, ..record(*sk, *state) })
                .collect();
            for change in census(&mut tracker, i as u64 * 25, &records) {
                match change {
                    Change::Began { adopted, .. } => began[usize::from(adopted)] += 1,
                    Change::Ended { adopted, .. } => ended[usize::from(adopted)] += 1,
                }
            }
            let mut still = [0i64; 2];
            for socket in tracker.sockets().filter(|socket| socket.lingering_since.is_some()) {
                still[usize::from(socket.adopted)] += 1;
            }
            prop_assert_eq!(began[0], ended[0] + still[0]);
            prop_assert_eq!(began[1], ended[1] + still[1]);
        }
    }
}

/// What a socket is, as plainly as it can be said.
struct Modelled {
    kind: Kind,
    sequence: u32,
    clock: u64,
    sightings: u32,
    last_census: usize,
    lingers: bool,
}

/// The sockets that linger after each census: seen in at least two, not moved for a minute, and not
/// missing from two in a row. An accepted one is new.
#[derive(Default)]
struct Model(std::collections::BTreeMap<u64, Modelled>);

impl Model {
    fn census(&mut self, number: usize, now: u64, records: &[Holder]) -> Vec<u64> {
        for record in records {
            let kind = classify(record).unwrap();
            let fresh = |clock| Modelled {
                kind,
                sequence: record.write_seq,
                clock,
                sightings: 1,
                last_census: number,
                lingers: false,
            };
            let known = self.0.entry(record.sk).or_insert_with(|| fresh(1));
            if known.kind == Kind::CloseWaitNotAccepted && kind != known.kind {
                *known = fresh(now);
                continue;
            }
            if known.last_census == number {
                // Another descriptor of it.
                continue;
            }
            let moved = known.sequence != record.write_seq;
            let clock = if moved { now } else { known.clock };
            let lingers = known.lingers && !moved && kind == known.kind;
            *known = Modelled { sightings: known.sightings + 1, lingers, ..fresh(clock) };
        }
        self.0.retain(|_, socket| socket.last_census + 1 >= number);
        for socket in self.0.values_mut().filter(|socket| socket.last_census == number) {
            socket.lingers |= socket.sightings >= 2 && now - socket.clock >= AFTER.as_nanos() as u64;
        }
        self.0.iter().filter(|(_, socket)| socket.lingers).map(|(sk, _)| *sk).collect()
    }
}

proptest! {
    /// After every census of a random history exactly those sockets linger that the model says.
    #[test]
    fn the_tracker_agrees_with_a_plain_model(
        steps in prop::collection::vec(prop::collection::vec((0u64..6, 0usize..4, 0u32..2), 0..8), 1..40),
    ) {
        let (mut tracker, mut model) = (running(), Model::default());
        for (i, sockets) in steps.iter().enumerate() {
            let records: Vec<Holder> = sockets
                .iter()
                .map(|&(sk, what, moved)| {
                    let states = [state::CLOSE_WAIT, state::FIN_WAIT2, state::CLOSE, state::CLOSE_WAIT];
                    let mut record = Holder { write_seq: moved, ..record(sk, states[what]) };
                    if what == 3 {
                        record.flags |= holder::QUEUED;
                    }
                    record
                })
                .collect();
            let second = (i as u64 + 1) * 25;
            census(&mut tracker, second, &records);
            let mut lingering: Vec<u64> = tracker
                .sockets()
                .filter(|socket| socket.lingering_since.is_some())
                .map(|socket| socket.last.sk)
                .collect();
            lingering.sort_unstable();
            prop_assert_eq!(lingering, model.census(i, at(second).0, &records));
        }
    }
}
