//! When a site *leaks*. Pure: a history of counts goes in, a status comes out.
//!
//! A site leaks when at least three of its sockets linger and, in the window W (five slices),
//! a new maximum fell into at least three of the slices and under 10 % of the sockets that
//! lingered when W began have ended since, nor did the program end a tenth as many younger ones
//! (a pool that warms up turns its sockets over); or when one of its processes has no descriptor left, or they fill
//! 25 % of one that has used 80 % of its descriptors, because a leak stops growing at EMFILE, just when it hurts.
//! It stays leaking until half its peak is gone.
//!
//! Sockets that are older than the agent (adopted) are a base line and no growth: nobody saw them come. They
//! count for how full a process is, and for how many are left of a leak's peak.
//!
//! Pools that hold a bounded number of half-closed sockets and close them later are common and
//! harmless; an alert on them is what makes people mute a tool.

use std::{collections::VecDeque, time::Duration};

use crate::model::{End, Moment, Status};

const SLICES: usize = 5;
const SLICES_WITH_NEW_MAXIMUM: usize = 3;
const FEWEST_SOCKETS: u64 = 3;
/// How many windows a maximum is remembered: a pool that fills and empties again does not set
/// new ones, but last week's incident must not hide today's.
const WINDOWS_REMEMBERED: usize = 12;
/// Over which time growth per minute is taken.
const RATE_SPAN: Duration = Duration::from_secs(300);

/// Counts closer together than this are kept as one.
const SAMPLE_SPAN: Duration = Duration::from_millis(900);

/// How full the process with most sockets of a site is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Descriptors {
    /// Lingering sockets of this site in the process.
    pub sockets: u64,
    /// Descriptors that the process has open.
    pub open: u64,
    /// Soft limit; 0 when not known.
    pub limit: u64,
}

impl Descriptors {
    /// None is left; or the site's sockets fill a quarter of what it may open, and four fifths of that are used up.
    pub fn are_running_out(self) -> bool {
        let fill = self.sockets * 4 >= self.limit && self.open * 5 >= self.limit * 4;
        self.limit > 0 && (fill || self.open >= self.limit)
    }
}

/// The sockets of a site that linger after a census.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them, the adopted ones too.
    pub lingering: u64,
    /// How many of them are adopted.
    pub adopted: u64,
    /// How many came without having begun here: adopted, or moved here from a site that they turned out not to belong
    /// to; less those that moved away.
    pub base_line: i64,
}

impl Count {
    /// Those that began to linger under watch.
    fn fresh(self) -> u64 {
        self.lingering.saturating_sub(self.adopted)
    }

    /// Moves with what begins and ends, and not with what is adopted or moved.
    fn net(self) -> i64 {
        self.lingering.cast_signed().saturating_sub(self.base_line)
    }
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    start: Moment,
    /// Fresh ones when the slice began.
    at_start: u64,
    /// Of fresh ones.
    maximum: u64,
    /// Of the fresh ones that began to linger before this slice, how many have ended since.
    older_ended: u64,
    /// How many the program itself ended in this slice, however young.
    turned_over: u64,
    new_maximum: bool,
}

/// The history of one site.
#[derive(Clone, Debug)]
pub struct History {
    slices: VecDeque<Slice>,
    /// Net counts of the last five minutes.
    counts: VecDeque<(Moment, i64)>,
    /// Fresh ones after the last census.
    before: u64,
    status: Status,
    /// Highest count while leaking.
    peak: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { slices: VecDeque::new(), counts: VecDeque::new(), before: 0, status: Status::Lingering, peak: 0 }
    }
}

impl History {
    /// One of the site's sockets stopped lingering; it began at `began`, or was adopted then.
    pub fn ended(&mut self, how: End, began: Moment, adopted: bool) {
        if matches!(how, End::Closed | End::Touched)
            && let Some(current) = self.slices.back_mut()
        {
            current.turned_over += 1;
        }
        if adopted {
            return;
        }
        for slice in &mut self.slices {
            if began < slice.start {
                slice.older_ended += 1;
            }
            // A restart sets the bar for a new maximum back: the next process starts from zero.
            if how == End::ProcessExit {
                slice.maximum = slice.maximum.saturating_sub(1);
            }
        }
    }

    /// Takes in the count of lingering sockets after a census and says what the site does now.
    pub fn update(&mut self, now: Moment, count: Count, window: Duration, descriptors: Descriptors) -> Status {
        let (lingering, fresh) = (count.lingering, count.fresh());
        self.remember(now, count.net());
        self.advance(now, fresh, window / SLICES as u32);
        match self.status {
            Status::Lingering
                if self.grows(fresh) || (lingering >= FEWEST_SOCKETS && descriptors.are_running_out()) =>
            {
                self.status = Status::Leaking;
                self.peak = lingering;
            }
            Status::Leaking => {
                self.peak = self.peak.max(lingering);
                if lingering * 2 <= self.peak {
                    self.status = Status::Lingering;
                }
            }
            Status::Lingering => {}
        }
        self.status
    }

    /// Net growth per minute over the last five minutes, or over what there is of them; None until two censuses have
    /// shown the site.
    pub fn per_minute(&self) -> Option<f64> {
        let (&(from, first), &(to, last)) = (self.counts.front()?, self.counts.back()?);
        let span = to.since(from).as_secs_f64();
        (span >= SAMPLE_SPAN.as_secs_f64()).then(|| (last - first) as f64 * 60.0 / span)
    }

    fn grows(&self, fresh: u64) -> bool {
        let window = self.slices.len().min(SLICES);
        let in_window = || self.slices.iter().rev().take(window);
        let Some(oldest) = in_window().next_back() else { return false };
        fresh >= FEWEST_SOCKETS
            && in_window().filter(|slice| slice.new_maximum).count() >= SLICES_WITH_NEW_MAXIMUM
            && (oldest.older_ended == 0 || oldest.older_ended * 10 < oldest.at_start)
            && in_window().map(|slice| slice.turned_over).sum::<u64>() * 10 < fresh
    }

    fn advance(&mut self, now: Moment, fresh: u64, slice: Duration) {
        let before = std::mem::replace(&mut self.before, fresh);
        if self.slices.back().is_none_or(|last| now.since(last.start) >= slice) {
            self.slices.push_back(Slice {
                start: now,
                at_start: before,
                maximum: before.min(fresh),
                older_ended: 0,
                turned_over: 0,
                new_maximum: false,
            });
            while self.slices.len() > SLICES * WINDOWS_REMEMBERED {
                self.slices.pop_front();
            }
        }
        let highest = self.slices.iter().map(|slice| slice.maximum).max().unwrap_or(0);
        if let Some(current) = self.slices.back_mut()
            && fresh > highest
        {
            current.maximum = fresh;
            current.new_maximum = true;
        }
    }

    /// The first count is the base line.
    fn remember(&mut self, now: Moment, net: i64) {
        if self.counts.len() > 1 && self.counts.back().is_some_and(|last| now.since(last.0) < SAMPLE_SPAN) {
            self.counts.pop_back();
        }
        self.counts.push_back((now, net));
        while self.counts.len() > 2 && now.since(self.counts[1].0) >= RATE_SPAN {
            self.counts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
