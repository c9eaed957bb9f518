//! Stacks and process ends as the kernel side sends them, and what it is told back.

use std::time::Duration;

use tlsclose_common::facts::{
    ClosePair, Interpreter, LeafKey, LeafRule, ProcessEnd, PythonCode, PythonFrame, PythonStack, PythonStart,
    StackFrames, StackHeader, Transition, record,
};

use super::{
    load::Kernel,
    pod::{Fact, read, read_short},
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

impl Kernel {
    /// Hands over everything in the stack ring.
    pub fn drain_stacks(&mut self, mut each: impl FnMut(Record<'_>)) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let own_tgid = self.own_tgid;
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
    pub fn wait_for_stacks(&self, timeout: Duration) -> bool {
        self.ring.wait(timeout)
    }

    /// Has the stack under `key` sent again when it is seen next.
    pub fn forget_stack(&mut self, key: u64) {
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

    /// Hands over every transition in the stream.
    pub fn drain_stream(&mut self, mut each: impl FnMut(Transition)) {
        while let Some(item) = self.stream_ring.next() {
            if let Some(transition) = read::<Transition>(&item) {
                each(transition);
            }
        }
    }

    /// Tells the programs how to find the caller at a place that makes system calls.
    pub fn set_leaf(&mut self, key: LeafKey, rule: LeafRule) {
        if let Err(error) = self.leaves.insert(Fact(key), Fact(rule), 0) {
            log::warn!("cannot store how to unwind {:#x}: {error}", key.pc);
        }
    }
}

impl Kernel {
    /// Closes of sockets whose opening was sampled, since this was called last. What is counted
    /// between the look and the removal is lost, like all that was not sampled.
    pub fn take_closes(&mut self) -> Vec<(ClosePair, u64)> {
        let keys: Vec<Fact<ClosePair>> = self.closes.keys().filter_map(Result::ok).collect();
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let Ok(count) = self.closes.get(&key, 0) else { continue };
            // Fails only when the entry was recycled meanwhile.
            let _ = self.closes.remove(&key);
            taken.push((key.0, count));
        }
        taken
    }
}

/// Records shorter than a header carry their kind in the first word.
fn short_header(bytes: &[u8]) -> Option<StackHeader> {
    let kind = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    Some(StackHeader { kind, ..StackHeader::default() })
}
