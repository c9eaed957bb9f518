//! Random histories of sockets, against the ledger and a plain model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Sockets by group, those that are not adopted first.
type Counts = [HashMap<Group, i64>; 2];

/// One step of a random history: which sockets are seen, in which state, how far they moved, and held by whom.
fn step() -> impl Strategy<Value = Vec<(u64, u8, u32, u32)>> {
    let states = prop::sample::select(vec![state::CLOSE_WAIT, state::FIN_WAIT2, state::CLOSE]);
    prop::collection::vec((0u64..6, states, 0u32..3, 7u32..9), 0..8)
}

proptest! {
    /// Whatever happens: lingered = ended + still lingering, in each group, for adopted sockets and others apart; and
    /// each is counted for one of its holders.
    #[test]
    fn the_ledger_balances(steps in prop::collection::vec(step(), 1..40)) {
        let mut tracker = Tracker::default();
        let (mut began, mut ended) = (Counts::default(), Counts::default());
        for (i, sockets) in steps.iter().enumerate() {
            let records: Vec<Holder> = sockets
                .iter()
                .map(|(sk, state, moved, tgid)| Holder { write_seq: *moved, tgid: *tgid, ..record(*sk, *state) })
                .collect();
            for change in census(&mut tracker, i as u64 * 25, &records) {
                match change {
                    Change::Began { adopted, group } => *began[usize::from(adopted)].entry(group).or_default() += 1,
                    Change::Ended { adopted, group, .. } => *ended[usize::from(adopted)].entry(group).or_default() += 1,
                }
            }
            let mut still = Counts::default();
            for socket in tracker.sockets().filter(|socket| socket.lingering_since.is_some()) {
                *still[usize::from(socket.adopted)].entry(socket.group).or_default() += 1;
                let seen_now = sockets.iter().filter(|(sk, ..)| *sk == socket.last.sk);
                let holders: Vec<u32> = seen_now.map(|(.., tgid)| *tgid).collect();
                prop_assert!(holders.is_empty() || holders.contains(&socket.group.process.tgid), "{:?}", socket);
            }
            for adopted in [0, 1] {
                for group in began[adopted].keys().chain(still[adopted].keys()) {
                    let of = |counts: &HashMap<Group, i64>| counts.get(group).copied().unwrap_or(0);
                    prop_assert_eq!(of(&began[adopted]), of(&ended[adopted]) + of(&still[adopted]));
                }
            }
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
