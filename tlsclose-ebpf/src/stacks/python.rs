//! Python stacks, for processes that the agent has recognised as CPython.
//!
//! The interpreter keeps a list of thread states; the current thread's is the one that bears its
//! thread pointer. From there its frames are linked, innermost first, each with its code object
//! and the instruction it is at. A code object may be freed, or replaced by another one at the
//! same address, long before the agent looks: so its names and its line table are copied when it
//! is first seen in a stack, and a frame refers to that copy by a hash of address *and* contents.

use core::{ffi::c_void, ptr::addr_of_mut};

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tlsclose_common::{
    facts::{Interpreter, Lost, PythonCode, PythonFrame, PythonStack, PythonText, StackHeader, record, told},
    limits::{PYTHON_FRAMES, PYTHON_THREADS},
};

use crate::{
    kernel::{Task, current_thread, reads_by_address},
    maps::{
        PYTHON, PYTHON_CODE, PYTHON_CODES, PYTHON_RULES, PYTHON_STACK, PYTHON_THREAD, STACK_RING, STACKS_SEEN, Slots,
        Values, lost,
    },
    stacks::words::{mix, put, user_word},
};

/// `PyVarObject.ob_size`, with `PyBytesObject.ob_sval` 16 bytes behind it.
const BYTES_SIZE: u64 = 16;
const BYTES_DATA: u64 = 32;
/// `PyASCIIObject.length`, with `hash` behind it; and `state`.
const TEXT_LENGTH: u64 = 16;
const TEXT_STATE: u64 = 32;
/// Owners from here on are the interpreter's own shims (`FRAME_OWNED_BY_CSTACK` in 3.12 and 3.13,
/// `FRAME_OWNED_BY_INTERPRETER` since 3.14; Include/internal/pycore_frame.h).
const OWNER_SHIM: u8 = 3;
/// Tags in the low bits of a reference (`_PyStackRef`, since 3.14).
const TAGS: u64 = 7;

/// Takes the current thread's Python stack. None where the process is not known as CPython, or
/// the thread is not running Python code; `header.python` says which. Else the stack's key, 0
/// when it was lost.
#[inline(always)]
pub fn take(header: &mut StackHeader) -> Option<u64> {
    let known = PYTHON.value(header.image)?;
    let (Some(rules), Some(stack)) = (PYTHON_RULES.slot_mut(0), PYTHON_STACK.slot_mut(0)) else { return None };
    // Not 0: somebody on this CPU is using both already.
    if stack.header.kind != 0 {
        lost(Lost::StacksBusy);
        return Some(0);
    }
    header.python = told::NO_FRAMES;
    stack.header = *header;
    put(&mut stack.header.kind, record::PYTHON);
    put(&mut stack.header.python, told::WALKED);
    put(&mut stack.header.filled, 0);
    put(&mut stack.header.key, mix(mix(header.image, header.pc), told::WALKED));
    // At worst they are another process's by now: then no thread has this thread pointer, and the walk ends.
    *rules = *known;
    let key = match innermost_python_frame() {
        0 => None,
        UNFOUND => Some(0),
        frame => {
            if walk(frame) != 0 {
                put(&mut stack.header.python, told::CUT);
            }
            Some(deliver(stack))
        }
    };
    put(&mut stack.header.kind, 0);
    key
}

// The functions below that are `extern` the verifier looks at once, and not once for each frame
// of the loops that call them: only numbers go in and come out.

/// No frame has this address.
const UNFOUND: u64 = u64::MAX;

/// The rules of the process whose stack is being walked on this CPU.
#[inline(always)]
fn rules() -> Option<&'static Interpreter> {
    PYTHON_RULES.slot_mut(0).map(|rules| &*rules)
}

/// The innermost frame of the current thread; 0 when it runs no Python code, [`UNFOUND`] when
/// there are too many threads to tell.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn innermost_python_frame() -> u64 {
    let Some(rules) = rules() else { return 0 };
    let own = Task::current().thread_pointer();
    if own == 0 {
        return 0;
    }
    let thread = current_thread();
    if let Some(&state) = PYTHON_THREAD.value(thread) {
        if user_word(state + rules.thread_id as u64) == own {
            let frame = frame_of(rules, state);
            if frame != 0 {
                return frame;
            }
        }
    }
    let mut owner = user_word(rules.runtime + rules.interpreters as u64);
    let mut state = user_word(owner + rules.threads as u64);
    for _ in 0..PYTHON_THREADS {
        if state == 0 {
            owner = user_word(owner + rules.interpreter_next as u64);
            if owner == 0 {
                return 0;
            }
            state = user_word(owner + rules.threads as u64);
        }
        if user_word(state + rules.thread_id as u64) == own {
            // A thread may have a state in several interpreters, and run in one of them.
            let frame = frame_of(rules, state);
            if frame != 0 {
                // A failure only means that the state is looked for again.
                let _ = PYTHON_THREAD.insert(thread, state, 0);
                return frame;
            }
        }
        state = user_word(state + rules.thread_next as u64);
    }
    lost(Lost::PythonThreads);
    UNFOUND
}

#[inline(always)]
fn frame_of(rules: &Interpreter, state: u64) -> u64 {
    let frame = user_word(state + rules.frame as u64);
    if rules.frame_indirect == Interpreter::ABSENT {
        return frame;
    }
    user_word(frame + rules.frame_indirect as u64)
}

/// The frame at which the walk was cut; 0 when it reached the end.
#[inline(always)]
fn walk(innermost: u64) -> u64 {
    let mut frame = innermost;
    for slot in 0..PYTHON_FRAMES as u64 {
        if frame == 0 {
            break;
        }
        frame = walk_python_frame(frame, slot);
    }
    frame
}

/// Records a frame in `PYTHON_STACK`; its caller.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_python_frame(frame: u64, slot: u64) -> u64 {
    let (Some(rules), Some(stack)) = (rules(), PYTHON_STACK.slot_mut(0)) else { return 0 };
    if slot >= PYTHON_FRAMES as u64 {
        return 0;
    }
    let code = user_word(frame + rules.frame_code as u64) & !TAGS;
    let instruction = user_word(frame + rules.frame_instruction as u64);
    let is_shim =
        rules.frame_owner != Interpreter::ABSENT && user_word(frame + rules.frame_owner as u64) as u8 >= OWNER_SHIM;
    let mut record = PythonFrame { code: 0, address: 0, instruction: 0, pad: 0 };
    if !is_shim {
        let first =
            if rules.code_instructions == Interpreter::ABSENT { 0 } else { code + rules.code_instructions as u64 };
        let id = identity(rules, code, stack.header.image);
        record = PythonFrame { code: id, address: code, instruction: instruction.wrapping_sub(first) as u32, pad: 0 };
    }
    stack.frames[slot as usize] = record;
    stack.header.key = mix(mix(stack.header.key, record.code), record.instruction as u64);
    stack.header.filled = slot + 1;
    user_word(frame + rules.frame_back as u64)
}

/// A hash of a code object's address and of enough of its contents to tell it from another one
/// that comes to lie there: counts, first line, names, and the beginning of its line table.
#[inline(always)]
fn identity(rules: &Interpreter, code: u64, image: u64) -> u64 {
    // Two of the counts, stack size, first line.
    let counts: [u64; 2] = user(code + rules.code_first_line as u64 - 12);
    let file = user_word(code + rules.code_file as u64);
    let name = user_word(code + rules.code_name as u64);
    let name: [u64; 2] = user(name + TEXT_LENGTH);
    let table = user_word(code + rules.code_table as u64);
    // Between size and contents lies a hash that comes only when somebody asks for it.
    let lines: [u64; 4] = user(table + BYTES_SIZE);
    let words = [code, counts[0], counts[1], file, name[0], name[1], table, lines[0], lines[2], lines[3]];
    let mut hash = image;
    for word in words {
        hash = mix(hash, word);
    }
    hash | 1
}

/// Sends the stack, and before it those of its code objects that the agent has not been sent.
#[inline(always)]
fn deliver(stack: &mut PythonStack) -> u64 {
    let key = stack.header.key | 1;
    put(&mut stack.header.key, key);
    if STACKS_SEEN.get_ptr(key).is_some() {
        return key;
    }
    let filled = stack.header.filled as usize;
    for i in 0..PYTHON_FRAMES {
        if i >= filled {
            break;
        }
        let frame = &stack.frames[i];
        let is_new = frame.code != 0 && PYTHON_CODES.get_ptr(frame.code).is_none();
        if is_new && copy_python_code(frame.code, frame.address) == 0 {
            return 0;
        }
    }
    if STACK_RING.output::<PythonStack>(&*stack, 0).is_err() {
        lost(Lost::StacksRingFull);
        return 0;
    }
    // A failure only means that the same stack is sent again.
    let _ = STACKS_SEEN.insert(key, 0, 0);
    key
}

/// Sends a copy of a code object's names and line table; 0 when that failed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_python_code(id: u64, code: u64) -> u64 {
    if !reads_by_address() {
        return 0;
    }
    let (Some(rules), Some(to)) = (rules(), PYTHON_CODE.get_ptr_mut(0)) else { return 0 };
    let table = user_word(code + rules.code_table as u64);
    let size = user_word(table + BYTES_SIZE);
    let filled = at_most(size, 0x3ffc) & 0x3fff;
    // SAFETY: this CPU's slot, which belongs to whoever marked `PYTHON_STACK` as taken; all
    // lengths are bounded, and the helper checks the addresses.
    let (sent, failed) = unsafe {
        (*to).kind = record::PYTHON_CODE;
        (*to).id = id;
        (*to).first_line = user_word(code + rules.code_first_line as u64) as i32;
        (*to).line_table = rules.line_table;
        (*to).pad = 0;
        (*to).table_size = size as u32;
        (*to).table_filled = filled as u32;
        let mut failed = copy_text(addr_of_mut!((*to).function), rules, code + rules.code_function as u64, 0);
        failed |= copy_text(addr_of_mut!((*to).file), rules, code + rules.code_file as u64, 1);
        let bytes = addr_of_mut!((*to).table).cast::<u8>();
        failed |= bpf_probe_read_user(bytes.cast(), filled as u32, (table + BYTES_DATA) as *const c_void);
        let length = core::mem::offset_of!(PythonCode, table) + filled as usize;
        (core::slice::from_raw_parts(to.cast::<u8>(), length), failed)
    };
    if failed != 0 {
        lost(Lost::PythonUnreadable);
        return 0;
    }
    if STACK_RING.output::<[u8]>(sent, 0).is_err() {
        lost(Lost::StacksRingFull);
        return 0;
    }
    // A failure only means that the same code object is sent again.
    let _ = PYTHON_CODES.insert(id, 0, 0);
    1
}

/// Copies a compact string (Include/cpython/unicodeobject.h), of a long one the beginning or the
/// end. Not 0 when it could not be read.
///
/// # Safety
/// `to` must be valid.
#[inline(always)]
unsafe fn copy_text(to: *mut PythonText, rules: &Interpreter, at: u64, keep_end: u64) -> i64 {
    let text = user_word(at);
    let length = user_word(text + TEXT_LENGTH);
    let state = user_word(text + TEXT_STATE) as u32;
    let width = (state >> 2 & 7) as u64;
    let is_ascii = state >> 6 & 1 != 0;
    let data = if is_ascii { rules.text_ascii } else { rules.text_other };
    let all = (length & 0xff_ffff) * width;
    let filled = at_most(all, 0xfc) & 0xff;
    let from = text + data as u64 + (all - filled) * keep_end;
    // SAFETY: the caller's promise; `filled` is below the size of `bytes`.
    unsafe {
        (*to).length = length as u32;
        (*to).state = state;
        (*to).filled = filled as u32;
        (*to).pad = 0;
        bpf_probe_read_user(addr_of_mut!((*to).bytes).cast(), filled as u32, from as *const c_void)
    }
}

#[inline(always)]
fn at_most(value: u64, bound: u64) -> u64 {
    if value > bound { bound } else { value }
}

/// Words of user memory; zeros where they cannot be read.
#[inline(always)]
fn user<const N: usize>(address: u64) -> [u64; N] {
    let mut words = [0u64; N];
    if reads_by_address() {
        // SAFETY: the helper checks the address, and zeroes the words on a fault.
        unsafe { bpf_probe_read_user((&raw mut words).cast(), (N * 8) as u32, address as *const c_void) };
    }
    words
}
