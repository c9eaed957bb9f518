//! Stacks and process ends as the kernel side sends them, and what it is told back.

use std::{collections::BTreeSet, time::Duration};

use aya::maps::{HashMap, MapData};
use tlsclose_common::facts::{
    Interpreter, LeafKey, LeafRule, ProcessEnd, PythonCode, PythonFrame, PythonStack, PythonStart, StackFrames,
    StackHeader, record,
};

use super::{
    attach::Programs,
    load_error::{LoadError, refused},
    pod::{Fact, read, read_short},
    ring_drain::RingDrain,
};

/// One record of the stack ring.
pub enum Record<'a> {
    /// Program counters, innermost first, caller of the leaf included.
    Frames(StackHeader, &'a [u64]),
    /// Registers and whole pages of the stack, beginning with the one that holds the stack pointer.
    Copy(StackHeader, &'a [u8]),
    /// Frames of Python, innermost first.
    Python(StackHeader, &'a [PythonFrame]),
    /// A code object that Python frames refer to.
    PythonCode(&'a PythonCode),
    PythonStart(PythonStart),
    End(ProcessEnd),
}

pub struct Stacks {
    ring: RingDrain,
    seen: HashMap<MapData, u64, u32>,
    leaves: HashMap<MapData, Fact<LeafKey>, Fact<LeafRule>>,
    python: HashMap<MapData, u64, Fact<Interpreter>>,
    python_codes: HashMap<MapData, u64, u32>,
    armed: HashMap<MapData, u32, u32>,
}

impl Stacks {
    pub(super) fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        const RING: &str = "STACK_RING";
        Ok(Self {
            ring: RingDrain::new(programs.map(RING)?).map_err(|error| refused(RING, &error.into()))?,
            seen: programs.map("STACKS_SEEN")?,
            leaves: programs.map("LEAVES")?,
            python: programs.map("PYTHON")?,
            python_codes: programs.map("PYTHON_CODES")?,
            armed: programs.map("ARMED")?,
        })
    }

    /// Hands over everything in the ring but stacks of the agent's own.
    pub(super) fn drain(&mut self, own_tgid: u32, mut each: impl FnMut(Record<'_>)) {
        self.ring.drain(|item| {
            let Some(header) = read::<StackHeader>(item).or_else(|| short_header(item)) else { return };
            match header.kind {
                // From the check of itself.
                record::FRAMES | record::COPY if header.tgid == own_tgid => {}
                record::FRAMES => {
                    if let Some(stack) = read::<StackFrames>(item) {
                        let filled = (header.filled as usize).min(stack.frames.len());
                        each(Record::Frames(header, &stack.frames[..filled]));
                    }
                }
                record::COPY => each(Record::Copy(header, item.get(size_of::<StackHeader>()..).unwrap_or_default())),
                record::PYTHON => {
                    if let Some(stack) = read::<PythonStack>(item) {
                        let filled = (header.filled as usize).min(stack.frames.len());
                        each(Record::Python(header, &stack.frames[..filled]));
                    }
                }
                record::PYTHON_CODE => {
                    if let Some(code) = read_short::<PythonCode>(item) {
                        each(Record::PythonCode(&code));
                    }
                }
                record::PYTHON_START => {
                    if let Some(start) = read::<PythonStart>(item) {
                        each(Record::PythonStart(start));
                    }
                }
                record::PROCESS_END => {
                    if let Some(end) = read::<ProcessEnd>(item) {
                        each(Record::End(end));
                    }
                }
                _ => {}
            }
        });
    }

    /// Waits for something in the stack ring, no longer than `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.ring.wait(timeout)
    }

    /// Has the stack under `key` sent again when it is seen next.
    pub fn forget(&mut self, key: u64) {
        // Fails only when the kernel has forgotten it already.
        let _ = self.seen.remove(&key);
    }

    /// Has a code object sent again when it is seen next.
    pub fn forget_code(&mut self, id: u64) {
        // Fails only when the kernel has forgotten it already.
        let _ = self.python_codes.remove(&id);
    }

    /// Tells the programs how to walk the Python stacks of a process.
    pub fn set_python(&mut self, image: u64, interpreter: Interpreter) {
        if let Err(error) = self.python.insert(image, Fact(interpreter), 0) {
            log::warn!("cannot store how to walk a Python process: {error}");
        }
    }

    /// Tells the programs how to find the caller at a place that makes system calls.
    pub fn set_leaf(&mut self, key: LeafKey, rule: LeafRule) {
        if let Err(error) = self.leaves.insert(Fact(key), Fact(rule), 0) {
            log::warn!("cannot store how to unwind {:#x}: {error}", key.pc);
        }
    }

    /// Sampling prefers these processes from now on.
    pub(super) fn arm(&mut self, tgids: &BTreeSet<u32>) {
        let now: Vec<u32> = self.armed.keys().filter_map(Result::ok).collect();
        for tgid in now.iter().filter(|tgid| !tgids.contains(tgid)) {
            // Fails only when the process has ended and the kernel side removed it.
            let _ = self.armed.remove(tgid);
        }
        for tgid in tgids.iter().filter(|tgid| !now.contains(tgid)) {
            if self.armed.insert(tgid, 1, 0).is_err() {
                // Full: the rest is sampled like everybody.
                break;
            }
        }
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = LeafKey> {
        self.leaves.keys().filter_map(Result::ok).map(|Fact(leaf)| leaf)
    }
}

/// Records shorter than a header carry their kind in the first word.
fn short_header(bytes: &[u8]) -> Option<StackHeader> {
    let kind = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    Some(StackHeader { kind, ..StackHeader::default() })
}
