//! Python stacks on their way to the agent, and how to walk them.

use bytemuck::{Pod, Zeroable};

use super::stack::StackHeader;
use crate::limits::{PYTHON_FRAMES, PYTHON_TABLE, PYTHON_TEXT};

/// Where the structures of one CPython process are: all that its versions differ in. Offsets are
/// in bytes; those of CPython's objects start at the object.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Interpreter {
    /// Address of `_PyRuntime` in the process.
    pub runtime: u64,
    /// In `_PyRuntime`: the first interpreter.
    pub interpreters: u32,
    /// In an interpreter: the next one.
    pub interpreter_next: u32,
    /// In an interpreter: its first thread state.
    pub threads: u32,
    /// In a thread state: the next one.
    pub thread_next: u32,
    /// In a thread state: what pthread_self() says.
    pub thread_id: u32,
    /// In a thread state: the innermost frame, or what points to it.
    pub frame: u32,
    /// Where that points to the frame; [`Interpreter::ABSENT`] where it is the frame itself.
    pub frame_indirect: u32,
    /// In a frame: its caller, its code object, the instruction, and who owns it.
    pub frame_back: u32,
    /// See `frame_back`.
    pub frame_code: u32,
    /// See `frame_back`.
    pub frame_instruction: u32,
    /// [`Interpreter::ABSENT`] where every frame is one of Python code.
    pub frame_owner: u32,
    /// In a code object.
    pub code_file: u32,
    /// The bare name.
    pub code_name: u32,
    /// The qualified name, where there is one.
    pub code_function: u32,
    /// The line table, a bytes object.
    pub code_table: u32,
    /// The line of its `def`, an int.
    pub code_first_line: u32,
    /// The instructions; [`Interpreter::ABSENT`] where a frame holds an index and not an address.
    pub code_instructions: u32,
    /// In a compact string: its characters, where all are ASCII and where not.
    pub text_ascii: u32,
    /// See `text_ascii`.
    pub text_other: u32,
    /// How lines are encoded, one of [`line_table`]; handed on to the agent.
    pub line_table: u32,
}

impl Interpreter {
    /// An offset of something that this version does not have.
    pub const ABSENT: u32 = u32::MAX;
}

/// Values of [`Interpreter::line_table`].
pub mod line_table {
    /// Up to 3.9: `co_lnotab` (Objects/lnotab_notes.txt).
    pub const LNOTAB: u32 = 1;
    /// 3.10: `co_linetable` (PEP 626).
    pub const RANGES: u32 = 2;
    /// From 3.11: `co_linetable` with columns (Objects/locations.md, later InternalDocs/code_objects.md).
    pub const LOCATIONS: u32 = 3;
}

/// Values of [`StackHeader::python`].
pub mod told {
    /// The kernel side does not know the process as CPython.
    pub const NOTHING: u64 = 0;
    /// It does, but the thread was not running Python code.
    pub const NO_FRAMES: u64 = 1;
    /// A [`super::PythonStack`] follows.
    pub const WALKED: u64 = 2;
    /// The same, and it has further frames, outside of the last.
    pub const CUT: u64 = 3;
}

/// One frame of Python code, or of the interpreter itself (`code` is 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct PythonFrame {
    /// [`PythonCode::id`].
    pub code: u64,
    /// Address of the code object; the kernel side's own business.
    pub address: u64,
    /// Where in the code: bytes from its first instruction, or an index up to 3.10.
    pub instruction: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

/// A Python stack: frames innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PythonStack {
    /// Of the call; `filled` counts the frames of Python.
    pub header: StackHeader,
    /// Innermost first.
    pub frames: [PythonFrame; PYTHON_FRAMES],
}

/// A string as CPython keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PythonText {
    /// Characters.
    pub length: u32,
    /// `PyASCIIObject.state`.
    pub state: u32,
    /// Bytes that are filled.
    pub filled: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
    /// UTF-8 or Latin-1, as CPython keeps it.
    pub bytes: [u8; PYTHON_TEXT],
}

/// A code object, copied when it is first seen in a stack: later it may be gone, or another one.
/// Sent as far as `table` is filled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PythonCode {
    /// [`super::record::PYTHON_CODE`].
    pub kind: u32,
    /// The line of its `def`.
    pub first_line: i32,
    /// Made from the process, the address and the contents.
    pub id: u64,
    /// How lines are encoded: one of [`line_table`].
    pub line_table: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
    /// Bytes of the line table, and how many of them are in `table`.
    pub table_size: u32,
    /// See `table_size`.
    pub table_filled: u32,
    /// Qualified name of the function.
    pub function: PythonText,
    /// Name of the file.
    pub file: PythonText,
    /// The line table itself.
    pub table: [u8; PYTHON_TABLE],
}

/// A process started a program whose name begins with `python`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct PythonStart {
    /// [`super::record::PYTHON_START`].
    pub kind: u32,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// Start of that process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// [`StackHeader::image`].
    pub image: u64,
}

const _: () = {
    assert!(size_of::<Interpreter>() == 88);
    assert!(size_of::<PythonStack>() == 72 + 24 * PYTHON_FRAMES);
    assert!(size_of::<PythonText>() == 16 + PYTHON_TEXT);
    assert!(size_of::<PythonCode>() == 64 + 2 * PYTHON_TEXT + PYTHON_TABLE);
    assert!(size_of::<PythonStart>() == 24);
};
