//! What stacks and copies of stack memory may cost: a budget per CPU, a guaranteed minimum for
//! every process, and precedence for armed processes, which already show a lingering socket.
//!
//! A leak repeats, so sampling finds it; and no busy server can starve a small leaky one.

use tlsclose_common::{
    facts::{Budget, Control, Lost},
    limits::{
        ARMED_STACKS_PER_SECOND, BUDGET_WINDOW_NS, COPIES_BURST_SECONDS, GUARANTEED_COPIES_PER_SECOND,
        GUARANTEED_FIRST_COPIES_PER_SECOND, GUARANTEED_STACKS_PER_SECOND,
    },
};

use crate::{
    kernel::{jiffies, now_ns},
    maps::{ARMED, BUDGET, CONTROL, PROCESS_BUDGET, REFUSED, Slots, Values, lost},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the `BUDGET` map.
const STACKS: u32 = 0;
const COPIES: u32 = 1;
const CLOSES: u32 = 2;
const GUARANTEED_COPIES: u32 = 3;

/// One of so many copies is for processes that have had few.
const GUARANTEED_PART: u64 = 4;

/// The process may take one more stack now.
#[inline(always)]
pub fn allows(tgid: u32) -> bool {
    allows_from(STACKS, tgid)
}

/// The process may take one more stack of a close() now. Openings come before closes, so a shared
/// budget would be used up by them.
#[inline(always)]
pub fn allows_close(tgid: u32) -> bool {
    allows_from(CLOSES, tgid)
}

/// Whom a budget has refused, it refuses for the rest of the tick without a look at the clock: where thousands of
/// connections come in a second, that is what nearly all of them pay.
#[inline(always)]
fn allows_from(slot: u32, tgid: u32) -> bool {
    let (Some(control), Some(refused)) = (CONTROL.get(0), REFUSED.slot_mut(slot)) else { return false };
    if tgid == 0 || tgid == control.agent_tgid {
        return false;
    }
    let tick = jiffies();
    let allowed = (refused.tick != tick || refused.tgid != tgid) && window_allows(slot, tgid, control);
    if !allowed {
        refused.tick = tick;
        refused.tgid = tgid;
        lost(Lost::StacksBudget);
    }
    allowed
}

#[inline(always)]
fn window_allows(slot: u32, tgid: u32, control: &Control) -> bool {
    let now = now_ns();
    let Some(shared) = BUDGET.slot_mut(slot) else { return false };
    if now.wrapping_sub(shared.window) > BUDGET_WINDOW_NS {
        shared.window = now;
        shared.used = 0;
    }
    let cap = control.stacks_per_second / (SECOND_NS / BUDGET_WINDOW_NS) as u32;
    let allowed = shared.used < cap || own_share_allows(tgid, control, shared.used.saturating_sub(cap + cap), now);
    shared.used += allowed as u32;
    allowed
}

/// The process may take one more, though others have used up what is for all. `beyond` is what has
/// been taken so already: what is guaranteed goes beyond what armed processes can use up.
#[inline(always)]
fn own_share_allows(tgid: u32, control: &Control, beyond: u32, now: u64) -> bool {
    let Some(own) = own(tgid, now) else { return false };
    let is_guaranteed =
        own.used < GUARANTEED_STACKS_PER_SECOND && beyond < ARMED_STACKS_PER_SECOND + GUARANTEED_STACKS_PER_SECOND;
    let allowed = is_guaranteed
        || own.used < ARMED_STACKS_PER_SECOND
            && beyond < ARMED_STACKS_PER_SECOND
            && control.any_armed != 0
            && is_armed(tgid);
    own.used += allowed as u32;
    allowed
}

/// One more copy of stack memory may be taken on this CPU now. Programs start in bursts, so a quiet
/// time saves up for a few seconds' worth of copies; the last second's worth of these is kept for
/// armed processes. Of all, a part is for the first few that a process takes in a second, which
/// nobody else can use up; those of a place of which little is known yet come first among them.
#[inline(always)]
pub fn allows_copy(tgid: u32, is_little_known: bool) -> bool {
    let Some(control) = CONTROL.get(0) else { return false };
    let now = now_ns();
    let all = control.copies_per_second as u64;
    let guaranteed = if all > GUARANTEED_PART { all / GUARANTEED_PART } else { 1 };
    let share = if is_little_known { GUARANTEED_FIRST_COPIES_PER_SECOND } else { GUARANTEED_COPIES_PER_SECOND };
    if let Some(own) = own(tgid, now)
        && own.copies < share
        && saved_up(GUARANTEED_COPIES, guaranteed, 0, now)
    {
        own.copies += 1;
        return true;
    }
    let common = all.saturating_sub(guaranteed);
    let reserved = if control.any_armed != 0 && is_armed(tgid) { 0 } else { common };
    let allowed = saved_up(COPIES, common, reserved, now);
    if !allowed {
        lost(Lost::CopiesBudget);
    }
    allowed
}

/// Takes one of what this slot has saved up at this rate per second, unless only `reserved` are left.
#[inline(always)]
fn saved_up(slot: u32, rate: u64, reserved: u64, now: u64) -> bool {
    let Some(spent) = BUDGET.slot_mut(slot) else { return false };
    let elapsed = now.wrapping_sub(spent.window);
    if elapsed > SECOND_NS {
        let repaid = rate * (elapsed / SECOND_NS);
        spent.used = if repaid < spent.used as u64 { spent.used - repaid as u32 } else { 0 };
        spent.window = now;
    }
    if spent.used as u64 + reserved >= rate * COPIES_BURST_SECONDS {
        return false;
    }
    spent.used += 1;
    true
}

#[inline(always)]
pub fn is_armed(tgid: u32) -> bool {
    ARMED.get_ptr(tgid).is_some()
}

/// What the process has used of its own share in this second.
///
/// Two CPUs may count at once and lose one: the share is a bound on cost, not an account.
#[inline(always)]
fn own(tgid: u32, now: u64) -> Option<&'static mut Budget> {
    let Some(own) = PROCESS_BUDGET.value_mut(tgid) else { return first(tgid, now) };
    // Should it be another process's by now, that one's share is charged.
    if now.wrapping_sub(own.window) > SECOND_NS {
        *own = Budget { window: now, ..Budget::default() };
    }
    Some(own)
}

#[inline(always)]
fn first(tgid: u32, now: u64) -> Option<&'static mut Budget> {
    if PROCESS_BUDGET.insert(tgid, Budget { window: now, ..Budget::default() }, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
    PROCESS_BUDGET.value_mut(tgid)
}
