//! The check of itself at the start: sockets of the agent's own, of which everything is known, are
//! read through the same offsets and hooks as everybody's will be. What comes out wrong ends the
//! agent before it has said anything: types of another kernel (`--btf`) may well load and attach.

mod judge;
mod sockets;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use aya::maps::HashMap;
use tlsclose_common::facts::{Control, HalfClosed, Holder, LeafKey, abort};

use self::{
    judge::{Agent, Taken, Traces},
    sockets::{Picture, Sockets},
};
use super::{
    Kernel,
    features::{ProbedFeature, is_available},
    hook::Hook,
    load_error::LoadError,
    options::Options,
    pod::Fact,
    reads::{self, Place},
};
use tlsclose_core::model::Moment;

/// Acknowledgements and last references of the sockets may take some time.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// What a busy host has used up of the budget for stacks is renewed in less than this.
const ANOTHER_TRY: Duration = Duration::from_millis(150);
const TRIES: u32 = 3;

/// Stacks and copies per second and CPU while it lasts, if they are to be fewer.
const STACKS: u32 = 1000;
const COPIES: u32 = 100;

/// Inode of the first time namespace (include/linux/proc_ns.h, `PROC_TIME_INIT_INO`).
const HOST_TIME_NAMESPACE: u64 = 0xEFFF_FFFA;

/// Why the check has no good end.
enum Trouble {
    /// There is nothing to look at: no loopback, for example.
    NotPossible(String),
    /// What is read is not what is.
    Wrong(String),
}

impl Kernel {
    /// Finds out whether sockets are read as they are, and forgets what it made for that. Reads are seen at `place`.
    pub(super) fn check_itself(&mut self, options: &Options, place: Place) -> Result<(), LoadError> {
        let start = Instant::now();
        let before = *self.controls.now();
        let mut outcome = Ok(());
        for try_number in 1..=TRIES {
            self.controls.change(sample_all);
            outcome = self.check_once(options.census_of_all, place);
            self.controls.change(|now| {
                now.agent_tgid = self.own_tgid;
                now.stacks_per_second = before.stacks_per_second;
                now.copies_per_second = before.copies_per_second;
            });
            self.forget_own();
            match &outcome {
                Err(Trouble::Wrong(what)) if try_number < TRIES => {
                    log::debug!("the check of itself fails: {what}");
                    std::thread::sleep(ANOTHER_TRY);
                }
                _ => break,
            }
        }
        let took = start.elapsed().as_secs_f64() * 1000.0;
        self.features.push(match outcome {
            Ok(()) => ProbedFeature::works(Hook::SelfCheck, &format!("read right, in {took:.0} ms")),
            Err(Trouble::NotPossible(why)) => ProbedFeature::missing(Hook::SelfCheck, &why),
            Err(Trouble::Wrong(what)) => return Err(LoadError::Misread(what)),
        });
        Ok(())
    }

    fn check_once(&mut self, census_of_all: bool, place: Place) -> Result<(), Trouble> {
        let not_possible = |error: std::io::Error| Trouble::NotPossible(error.to_string());
        let sockets = Sockets::open().map_err(not_possible)?;
        let picture = sockets.picture().map_err(not_possible)?;
        let own = self.own_records(&picture, census_of_all, place);
        sockets.close().map_err(not_possible)?;
        let own = own?;
        self.wait_until_gone(&own)?;
        self.check_resets()?;
        self.check_leaves(&own)
    }

    /// Takes a census until it shows what it should. Gives the records of the agent's own sockets.
    fn own_records(&mut self, picture: &Picture, census_of_all: bool, place: Place) -> Result<Vec<Holder>, Trouble> {
        let mut traces = Traces {
            reads: is_available(&self.features, Hook::Reads),
            accepts: is_available(&self.features, Hook::Accept4),
            queues: !census_of_all && self.walks_queues(),
        };
        let agent = agent(self.controls.sees_all());
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut records = Vec::new();
            let totals = self.census(|record| records.push(*record));
            let totals = totals.map_err(|error| Trouble::NotPossible(error.to_string()))?;
            let taken = Taken { now: Moment(totals.now), jiffies: totals.jiffies };
            match judge::judge(&records, picture, &agent, traces, taken) {
                Ok(own_tgid) => {
                    // Outside of its PID namespace it has another number.
                    self.own_tgid = own_tgid;
                    // Clients that gave up waiting for its start are in another queue.
                    records.retain(|record| record.tgid == own_tgid && picture.has_port(record.local_port));
                    return Ok(records);
                }
                Err(_) if Instant::now() < give_up => std::thread::sleep(PAUSE),
                Err(_) if self.counters.lost_sockets() => {
                    return Err(Trouble::NotPossible("the map of sockets is full".into()));
                }
                Err(what) => {
                    let without = Traces { reads: false, ..traces };
                    let is_unseen = traces.reads && judge::judge(&records, picture, &agent, without, taken).is_ok();
                    if !is_unseen || place != Place::Probe {
                        return Err(Trouble::Wrong(what));
                    }
                    reads::miss(&mut self.features);
                    traces = without;
                }
            }
        }
    }

    /// The sockets are closed, and the exact map must have followed.
    fn wait_until_gone(&self, own: &[Holder]) -> Result<(), Trouble> {
        let map = self
            .programs
            .ebpf
            .map("HALF_CLOSED")
            .and_then(|map| HashMap::<_, u64, Fact<HalfClosed>>::try_from(map).ok());
        let Some(map) = map else { return Err(Trouble::NotPossible("there is no map of sockets".into())) };
        // Somebody else may have got the address meanwhile.
        let is_kept = |record: &Holder| map.get(&record.sk, 0).is_ok_and(|Fact(half)| half.peer == record.half.peer);
        let give_up = Instant::now() + PATIENCE;
        while own.iter().any(is_kept) {
            if Instant::now() >= give_up {
                return Err(Trouble::Wrong("a socket that it has closed is taken for open".into()));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Two of the sockets were closed with SO_LINGER on and a time of 0.
    fn check_resets(&self) -> Result<(), Trouble> {
        let is_seen =
            self.aborts.of_process(self.own_tgid).iter().any(|key| key.cause == u32::from(abort::LINGER_ZERO));
        if is_seen || !is_available(&self.features, Hook::SendReset) {
            return Ok(());
        }
        Err(Trouble::Wrong("that it has reset a connection was not seen, or not why".into()))
    }

    /// The places of its system calls, as its registers have them, must be in its code.
    fn check_leaves(&self, own: &[Holder]) -> Result<(), Trouble> {
        let Some(started_at) = own.first().map(|record| record.started_at) else { return Ok(()) };
        let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return Ok(()) };
        let own_leaves = self.own_leaves(started_at);
        match own_leaves.iter().find(|leaf| !is_code(&maps, leaf.pc)) {
            Some(leaf) => Err(Trouble::Wrong(format!("a system call of its own is seen at {:#x}", leaf.pc))),
            None => Ok(()),
        }
    }

    fn own_leaves(&self, started_at: u64) -> Vec<LeafKey> {
        // See the kernel side's `Task::image`: what is left is the number of execs.
        let is_own = |leaf: &LeafKey| u32::try_from(leaf.image ^ started_at ^ (u64::from(self.own_tgid) << 40)).is_ok();
        self.stacks.leaves().filter(is_own).collect()
    }

    /// Takes out of the accounts what its own sockets have left there. Samples of others' closes that go
    /// with them are as good as closes before the start.
    fn forget_own(&mut self) {
        for key in self.aborts.of_process(self.own_tgid) {
            self.aborts.forget(key);
        }
        self.closes.take();
        self.aborts.take_stacks();
        self.stream.drain(|_| {});
    }
}

/// Nothing of the agent's own would be sampled otherwise.
fn sample_all(control: &mut Control) {
    control.agent_tgid = 0;
    control.stacks_per_second = control.stacks_per_second.max(STACKS);
    control.copies_per_second = control.copies_per_second.max(COPIES);
}

/// This process, as far as the kernel's view of it can be known from here.
fn agent(sees_all: bool) -> Agent {
    let inode = |namespace: &str| fs::metadata(format!("/proc/self/ns/{namespace}")).ok().map(|file| file.ino());
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let is_on_host_time = inode("time") == Some(HOST_TIME_NAMESPACE);
    Agent {
        tgid: sees_all.then(std::process::id),
        started_at: stat.filter(|_| is_on_host_time).and_then(|stat| started_at(&stat)),
        netns: inode("net").and_then(|inode| u32::try_from(inode).ok()),
    }
}

/// When the process of this `/proc/PID/stat` was started, and how exactly that says it, in ns.
fn started_at(stat: &str) -> Option<(u64, u64)> {
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    // The command name may contain anything; what follows it is the third field.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some((ticks.checked_mul(tick)?, 2 * tick))
}

/// The address is in code, going by this `/proc/PID/maps`.
fn is_code(maps: &str, address: u64) -> bool {
    let holds = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        Some(words.next()?.contains('x') && range.contains(&address))
    };
    maps.lines().any(|line| holds(line) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_may_be_executed() {
        let maps = "55d0-55e0 r--p 00000000 fe:00 12 /usr/bin/a b\n55e0-55f0 r-xp 00001000 fe:00 12 /usr/bin/a b\n";
        for (address, is_in_code) in [(0x55df, false), (0x55e0, true), (0x55ef, true), (0x55f0, false)] {
            assert_eq!(is_code(maps, address), is_in_code, "{address:#x}");
        }
        assert!(!is_code("garbage\n-\n", 0));
    }

    #[test]
    fn the_start_of_a_process_is_its_22nd_field() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(started_at(stat), Some((250 * tick, 2 * tick)));
        assert_eq!(started_at("7 (a"), None);
    }
}
