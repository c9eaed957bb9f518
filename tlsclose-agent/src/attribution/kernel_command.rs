//! What the kernel side is to do because of what was learned here. Attribution does not know it: whoever owns both
//! carries the commands out.

use tlsclose_common::facts::{AbortKey, Interpreter, LeafKey, LeafRule, TlsCloseKey};

/// One thing for the kernel side to do.
#[derive(Clone, Copy, Debug)]
pub enum KernelCommand {
    /// Go on from this place so.
    SetLeaf(LeafKey, LeafRule),
    /// This address space is that of an interpreter.
    SetInterpreter(u64, Interpreter),
    /// Send the stack under this key again when it is met.
    ForgetStack(u64),
    /// Send this code object of Python again when it is met.
    ForgetCode(u64),
    /// This process has ended and aborts nothing more.
    ForgetAborts(AbortKey),
    /// This process has ended and closes no TLS connection any more.
    ForgetTlsCloses(TlsCloseKey),
}
