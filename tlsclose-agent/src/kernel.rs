//! All that knows aya and the kernel, and all of the agent's unsafe code. [`Kernel`] is the way in; each of its parts
//! owns its maps and its programs.

use std::collections::BTreeSet;

use tlsclose_common::facts::{Holder, Suspect};

use self::{
    aborts::Aborts,
    attach::{Links, Programs},
    census::{Census, CensusError, Totals},
    closes::Closes,
    controls::Controls,
    counters::CounterMaps,
    features::{ProbedFeature, is_available},
    hook::Hook,
    runs::Run,
    sends::Sends,
    spins::Spins,
    stacks::{Record, Stacks},
    stream::Stream,
    tls::Tls,
};
pub use self::{
    load_error::LoadError,
    options::{CloseCalls, Options},
};

pub mod aborts;
mod arch;
pub mod attach;
use tlsclose_btf as btf;
pub mod census;
mod closes;
mod controls;
mod counted;
pub mod counters;
pub mod features;
pub mod hook;
pub mod layout;
mod load;
mod load_error;
mod lockdown;
pub mod malloc_trim;
mod map_prealloc;
mod object;
mod options;
pub mod pod;
mod reads;
mod ring_drain;
pub mod runs;
mod self_check;
mod sends;
mod spins;
pub mod stacks;
mod stream;
mod system_calls;
pub mod tls;

/// The loaded and attached programs; dropping it detaches and frees everything.
pub struct Kernel {
    programs: Programs,
    census: Census,
    sends: Sends,
    /// The agent's process in the first PID namespace.
    own_tgid: u32,
    pub aborts: Aborts,
    pub closes: Closes,
    pub controls: Controls,
    pub counters: CounterMaps,
    pub spins: Spins,
    pub stacks: Stacks,
    pub stream: Stream,
    pub tls: Tls,
    /// What is attached and what is not, and why.
    pub features: Vec<ProbedFeature>,
}

impl Kernel {
    /// Takes the maps of attached programs.
    fn of(
        mut programs: Programs,
        options: &Options,
        features: Vec<ProbedFeature>,
        send_hook: Option<sends::Loaded>,
    ) -> Result<Self, LoadError> {
        let maps = &mut programs;
        Ok(Self {
            census: Census::of(maps)?,
            sends: Sends::of(maps, send_hook)?,
            own_tgid: std::process::id(),
            aborts: Aborts::of(maps)?,
            closes: Closes::of(maps)?,
            controls: Controls::of(maps, options)?,
            counters: CounterMaps::of(maps, options)?,
            spins: Spins::of(maps)?,
            stacks: Stacks::of(maps)?,
            stream: Stream::of(maps)?,
            tls: Tls::of(maps)?,
            programs,
            features,
        })
    }

    /// What keeps the programs attached, for who wants to detach them while the rest is at work.
    pub fn take_links(&mut self) -> Links {
        let mut links = self.programs.take_links();
        links.append(self.sends.take_links());
        links
    }

    /// Walks every descriptor of the host; `each` gets one record for each half-closed one.
    pub fn census(&mut self, each: impl FnMut(&Holder)) -> Result<Totals, CensusError> {
        self.controls.begin_census(self.counters.half_closed());
        self.census.take(&mut self.programs, each)
    }

    /// The connections in accept queues, of which only the addresses are known, may be looked at.
    pub fn walks_queues(&self) -> bool {
        is_available(&self.features, Hook::AcceptQueues)
    }

    /// Sampling prefers these processes from now on.
    pub fn arm(&mut self, tgids: &BTreeSet<u32>) {
        self.stacks.arm(tgids);
        self.controls.set_any_armed(!tgids.is_empty());
    }

    /// Attaches the hook at sends while something needs it.
    pub fn follow_sends(&mut self) {
        self.sends.follow(&mut self.programs, self.controls.now(), self.tls.is_watched());
    }

    /// What these threads call while `wait` lasts: nothing where that cannot be seen. None if it cannot be said now.
    pub fn watch_calls(&mut self, tids: &[u32], wait: impl FnOnce()) -> Option<Vec<(u32, Suspect)>> {
        self.spins.watch_calls(&mut self.programs, tids, wait)
    }

    /// Hands over everything in the stack ring.
    pub fn drain_stacks(&mut self, each: impl FnMut(Record<'_>)) {
        self.programs.flush_log();
        self.stacks.drain(self.own_tgid, each);
    }

    /// Run times of our programs; zero where the kernel's bpf statistics are off.
    pub fn runs(&self) -> Vec<Run> {
        runs::runs(&self.programs.ebpf)
    }

    /// Runs skipped because a program was running on that CPU already.
    pub fn recursion_misses(&self) -> u64 {
        runs::recursion_misses(&self.programs.ebpf)
    }
}

impl Drop for Kernel {
    /// All at once, those at sends too.
    fn drop(&mut self) {
        drop(self.take_links());
    }
}
