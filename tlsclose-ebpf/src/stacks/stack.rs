//! User stacks, with the caller of the leaf.
//!
//! A libc wrapper pushes no frame, and where glibc makes a system call a cancellation point it
//! even borrows the frame pointer: a plain frame-pointer walk loses exactly the function that
//! called `accept4` or `read`, and sometimes everything above it. One step of call-frame
//! information (CFI) mends that. The agent learns the step once for each place that makes system
//! calls, from copies of the first stacks seen there, and hands it down as a [`LeafRule`]; from
//! then on the walk starts in the caller, and the key of a stack is the hash of all its frames.
//! Where the callers keep no frame pointers the agent says so, and goes on unwinding copies.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_get_prandom_u32, bpf_probe_read_user},
};
use tlsclose_common::{
    facts::{LeafKey, LeafRule, Lost, StackCopy, StackFrames, StackHeader, leaf, record, told},
    limits::{COPIES_PER_LEAF, COPY_HOLES, COPY_PAGES, DEEP_COPY_PAGES, FIRST_COPIES, PAGE, STACK_FRAMES, STACK_SPAN},
};

use crate::{
    kernel::{
        Task,
        arch::{Registers, user_registers},
        current_thread, now_ns, read_user, reads_by_address,
    },
    maps::{LEAVES, SCRATCH, STACK_RING, STACKS_SEEN, Slots, Values, lost},
    stacks::{
        budget, python,
        words::{mix, put, user_word},
    },
};

/// Process of the current task.
#[inline(always)]
pub fn current_tgid() -> u32 {
    (current_thread() >> 32) as u32
}

/// Takes the current task's user stack if the budget allows; the key under which the agent has
/// been sent it, or 0.
#[inline(always)]
pub fn sample(tgid: u32) -> u64 {
    if budget::allows(tgid) { take(tgid) } else { 0 }
}

/// Takes the current task's user stack.
#[inline(always)]
pub fn take(tgid: u32) -> u64 {
    take_stack(tgid)
}

/// A function that the verifier looks at once in each program, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_stack(tgid: u32) -> u64 {
    let task = Task::current();
    if task.without_user_stack() {
        return 0;
    }
    let started_at = task.started_at();
    let image = task.image(started_at);
    let registers = user_registers(task.as_ptr());
    let mut header = StackHeader {
        kind: record::FRAMES,
        tgid,
        key: 0,
        image,
        started_at,
        pc: registers.pc,
        sp: registers.sp,
        fp: registers.fp,
        filled: 0,
        python: told::NOTHING,
    };
    if !reads_by_address() {
        // Only where the program entered the kernel can be told.
        let rule = LeafRule { status: leaf::NONE, copies: 0, return_address: 0, frame_pointer: 0 };
        return walk(header, registers, rule);
    }
    if let Some(key) = python::take(&mut header) {
        return key;
    }
    let place = LeafKey { image, pc: registers.pc };
    let Some(rule) = LEAVES.value_mut(place) else {
        let rule = LeafRule { status: leaf::UNKNOWN, copies: 0, return_address: 0, frame_pointer: 0 };
        if LEAVES.insert(place, rule, 0).is_err() {
            lost(Lost::ProcessesMapFull);
        }
        return send_copy::<DEEP_COPY_PAGES>(header, true);
    };
    // At worst it is another leaf's by now: then the walk ends at the first address that belongs to no file.
    if rule.status == leaf::UNKNOWN {
        if rule.copies >= COPIES_PER_LEAF {
            lost(Lost::StacksLeafUnknown);
            return 0;
        }
        let key = send_copy::<DEEP_COPY_PAGES>(header, rule.copies < FIRST_COPIES);
        // What the budget refused is no attempt.
        rule.copies += (key != 0) as u32;
        return key;
    }
    if rule.status == leaf::COPY {
        return send_copy::<COPY_PAGES>(header, false);
    }
    if rule.status == leaf::DEEP_COPY {
        return send_copy::<DEEP_COPY_PAGES>(header, false);
    }
    let rule = *rule;
    walk(header, registers, rule)
}

/// Sends registers and the top of the stack, for the agent to unwind.
#[inline(always)]
fn send_copy<const PAGES: usize>(mut header: StackHeader, is_little_known: bool) -> u64 {
    if !reads_by_address() || !budget::allows_copy(header.tgid, is_little_known) {
        return 0;
    }
    let Some(mut entry) = STACK_RING.reserve::<StackCopy<PAGES>>(0) else {
        lost(Lost::StacksRingFull);
        return 0;
    };
    // SAFETY: a helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() } as u64;
    let key = (now_ns() ^ (random << 32)) | 1;
    let copy = entry.as_mut_ptr();
    let first = header.sp as usize & (PAGE - 1);
    // SAFETY: `first + (PAGE - first)` bytes are the first page, and `page < PAGES` any other;
    // the helper checks the addresses.
    unsafe {
        let bytes = (&raw mut (*copy).pages).cast::<u8>();
        let top = bpf_probe_read_user(bytes.add(first).cast(), (PAGE - first) as u32, header.sp as *const c_void);
        let mut filled = (top == 0) as u64;
        let mut holes = 0;
        let mut address = header.sp & !(PAGE as u64 - 1);
        for page in 1..PAGES {
            address += PAGE as u64;
            if bpf_probe_read_user(bytes.add(page * PAGE).cast(), PAGE as u32, address as *const c_void) == 0 {
                filled |= 1 << page;
            } else {
                holes += 1;
            }
            // A main thread has a gap below its arguments, and a large array may have never been touched.
            if holes > COPY_HOLES {
                break;
            }
        }
        header.kind = record::COPY;
        header.key = key;
        header.filled = filled;
        (*copy).header = header;
    }
    entry.submit(0);
    key
}

/// Walks frame pointers from the leaf's caller outwards.
#[inline(always)]
fn walk(header: StackHeader, registers: Registers, rule: LeafRule) -> u64 {
    let Some(scratch) = SCRATCH.slot_mut(0) else { return 0 };
    // Not 0: somebody on this CPU is writing it already.
    if scratch.header.kind != 0 {
        lost(Lost::StacksBusy);
        return 0;
    }
    scratch.header = header;

    scratch.frames[0] = registers.pc;
    let mut hash = mix(mix(header.image, registers.pc), 0);
    let mut fp = registers.fp;
    let mut filled = 1u64;
    if rule.status != leaf::NONE {
        let base = if rule.status == leaf::FROM_STACK_POINTER { registers.sp } else { registers.fp };
        let caller = user_word(base.wrapping_add_signed(rule.return_address as i64));
        if rule.frame_pointer != leaf::UNCHANGED {
            fp = user_word(base.wrapping_add_signed(rule.frame_pointer as i64));
        }
        scratch.frames[1] = caller;
        hash = mix(hash, caller);
        filled = 2;
    }
    put(&mut scratch.header.filled, filled);
    put(&mut scratch.header.key, hash);

    // Slot 1 is free when there is no rule: the reader takes `filled` frames, so keep them dense.
    let first = filled as usize;
    for i in 0..STACK_FRAMES - 2 {
        if fp & 7 != 0 || fp.wrapping_sub(registers.sp) > STACK_SPAN {
            break;
        }
        let mut pair = [0u64; 2];
        // SAFETY: the helper checks the address, and zeroes the pair on a fault.
        unsafe { read_user::<16>((&raw mut pair).cast(), fp as *const c_void) };
        let slot = first + i;
        if pair[1] == 0 || slot >= STACK_FRAMES {
            break;
        }
        scratch.frames[slot] = pair[1];
        let hash = mix(scratch.header.key, pair[1]);
        put(&mut scratch.header.key, hash);
        put(&mut scratch.header.filled, slot as u64 + 1);
        if pair[0] <= fp {
            break;
        }
        fp = pair[0];
    }
    let key = deliver(scratch);
    put(&mut scratch.header.kind, 0);
    key
}

/// Sends the stack unless the agent has it already.
#[inline(always)]
fn deliver(stack: &mut StackFrames) -> u64 {
    let key = stack.header.key | 1;
    put(&mut stack.header.key, key);
    if STACKS_SEEN.get_ptr(key).is_some() {
        return key;
    }
    if STACK_RING.output::<StackFrames>(&*stack, 0).is_err() {
        lost(Lost::StacksRingFull);
        return 0;
    }
    // A failure only means that the same stack is sent again.
    let _ = STACKS_SEEN.insert(key, 0, BPF_NOEXIST as u64);
    key
}
