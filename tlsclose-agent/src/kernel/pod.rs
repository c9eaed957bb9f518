//! Facts as maps hold them: plain bytes on both sides.

use aya::Pod;
use tlsclose_common::{
    facts::{
        AbortKey, AbortStackKey, Aborts, BadCloses, Budget, CensusCounts, ClosePair, Closer, Control, Durations,
        EofSpin, HalfClosed, Interpreter, LeafKey, LeafRule, Suspect, TlsCloseKey, TlsCloses, TlsSocket, TlsStackKey,
    },
    layout::{FileRef, Layout, SystemCalls},
};

/// A fact in a map. aya's `Pod` and the facts are both foreign here, hence the wrapper.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Fact<T>(pub T);

macro_rules! facts {
    ($($fact:ty),* $(,)?) => {
        // SAFETY: `#[repr(C)]`, `Copy`, no padding (sizes are asserted in tlsclose-common), valid for every bit pattern.
        $(unsafe impl Pod for Fact<$fact> {})*
    };
}

facts!(
    AbortKey,
    AbortStackKey,
    Aborts,
    BadCloses,
    Budget,
    CensusCounts,
    Closer,
    ClosePair,
    Control,
    Durations,
    EofSpin,
    FileRef,
    HalfClosed,
    Interpreter,
    Layout,
    LeafKey,
    LeafRule,
    Suspect,
    SystemCalls,
    TlsCloseKey,
    TlsCloses,
    TlsSocket,
    TlsStackKey,
);

/// Reads a fact out of bytes that the kernel wrote, whatever their alignment.
pub fn read<T: Copy>(bytes: &[u8]) -> Option<T>
where
    Record<T>: Plain,
{
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: `Plain` promises that every bit pattern is a value; the length was checked.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// As [`read`], of a record that was sent without the end of its last field: that is zero.
pub fn read_short<T: Copy>(bytes: &[u8]) -> Option<Box<T>>
where
    Record<T>: Plain,
{
    if bytes.len() > size_of::<T>() {
        return None;
    }
    let mut record = Box::<T>::new_uninit();
    // SAFETY: the zeros and the copy lie within the record; `Plain` promises that every bit pattern is a value.
    Some(unsafe {
        record.as_mut_ptr().write_bytes(0, 1);
        record.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        record.assume_init()
    })
}

/// A record type; see [`Plain`].
pub struct Record<T>(core::marker::PhantomData<T>);

/// Types for which every bit pattern is a value.
///
/// # Safety
/// The type must be `#[repr(C)]` and consist of integers only.
pub unsafe trait Plain {}

macro_rules! plain {
    ($($record:ty),* $(,)?) => {
        // SAFETY: integers and arrays of integers only (tlsclose-common/src/facts.rs).
        $(unsafe impl Plain for Record<$record> {})*
    };
}

plain!(
    tlsclose_common::facts::Holder,
    tlsclose_common::facts::ProcessEnd,
    tlsclose_common::facts::PythonStack,
    tlsclose_common::facts::PythonCode,
    tlsclose_common::facts::PythonStart,
    tlsclose_common::facts::StackHeader,
    tlsclose_common::facts::StackFrames,
    tlsclose_common::facts::Transition,
);
