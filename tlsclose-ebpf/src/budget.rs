//! What stacks may cost: a budget per CPU, a guaranteed minimum for every process, and
//! precedence for armed processes, which already show a lingering socket.
//!
//! A leak repeats, so sampling finds it; and no busy server can starve a small leaky one.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tlsclose_common::{
    facts::{Budget, Control, Lost},
    limits::{ARMED_STACKS_PER_SECOND, BUDGET_WINDOW_NS, COPIES_BURST_SECONDS, GUARANTEED_STACKS_PER_SECOND},
};

use crate::maps::{ARMED, BUDGET, CONTROL, PROCESS_BUDGET, lost};

const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the `BUDGET` map.
const STACKS: u32 = 0;
const COPIES: u32 = 1;
const CLOSES: u32 = 2;

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

#[inline(always)]
fn allows_from(slot: u32, tgid: u32) -> bool {
    let Some(control) = CONTROL.get(0) else { return false };
    if tgid == 0 || tgid == control.agent_tgid {
        return false;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(shared) = BUDGET.get_ptr_mut(slot) else { return false };
    // SAFETY: a per-CPU slot that lives as long as the program.
    let shared = unsafe { &mut *shared };
    if now.wrapping_sub(shared.window) > BUDGET_WINDOW_NS {
        shared.window = now;
        shared.used = 0;
    }
    let cap = control.stacks_per_second / (SECOND_NS / BUDGET_WINDOW_NS) as u32;
    if shared.used < cap {
        shared.used += 1;
        return true;
    }
    let own = own_share(tgid, control);
    if shared.used < cap + cap + own && within(tgid, own, now) {
        shared.used += 1;
        return true;
    }
    lost(Lost::StacksBudget);
    false
}

/// One more copy of stack memory may be taken on this CPU now. Programs start in bursts, so a
/// quiet time saves up for a few seconds' worth of copies; the last second's worth of these is kept
/// for armed processes.
#[inline(always)]
pub fn allows_copy(tgid: u32) -> bool {
    let (Some(control), Some(copies)) = (CONTROL.get(0), BUDGET.get_ptr_mut(COPIES)) else { return false };
    // SAFETY: a helper without arguments; a per-CPU slot that lives as long as the program.
    let (now, copies) = unsafe { (bpf_ktime_get_ns(), &mut *copies) };
    let rate = control.copies_per_second as u64;
    let elapsed = now.wrapping_sub(copies.window);
    if elapsed > SECOND_NS {
        let repaid = rate * (elapsed / SECOND_NS);
        copies.used = if repaid < copies.used as u64 { copies.used - repaid as u32 } else { 0 };
        copies.window = now;
    }
    let used = copies.used as u64;
    let reserved = if control.any_armed != 0 && is_armed(tgid) { 0 } else { rate };
    if used + reserved >= rate * COPIES_BURST_SECONDS {
        lost(Lost::CopiesBudget);
        return false;
    }
    copies.used += 1;
    true
}

/// Stacks per second that the process may take beyond the shared budget.
#[inline(always)]
fn own_share(tgid: u32, control: &Control) -> u32 {
    if control.any_armed != 0 && is_armed(tgid) { ARMED_STACKS_PER_SECOND } else { GUARANTEED_STACKS_PER_SECOND }
}

#[inline(always)]
pub fn is_armed(tgid: u32) -> bool {
    ARMED.get_ptr(tgid).is_some()
}

/// Uses up one stack of the process's own share, if there is one.
///
/// Two CPUs may count at once and lose one: the share is a bound on cost, not an account.
#[inline(always)]
fn within(tgid: u32, share: u32, now: u64) -> bool {
    let Some(own) = PROCESS_BUDGET.get_ptr_mut(tgid) else {
        let fresh = Budget { window: now, used: 1, pad: 0 };
        if PROCESS_BUDGET.insert(tgid, fresh, 0).is_err() {
            lost(Lost::ProcessesMapFull);
        }
        return true;
    };
    // SAFETY: LRU entries are recycled, never unmapped: at worst another process's share is charged.
    let own = unsafe { &mut *own };
    if now.wrapping_sub(own.window) > SECOND_NS {
        own.window = now;
        own.used = 0;
    }
    if own.used >= share {
        return false;
    }
    own.used += 1;
    true
}
