//! How modules are told apart, and how many are remembered.

/// Modules remembered; beyond, those not seen for longest are forgotten.
pub const MODULES_MAX: usize = 1024;

/// Number of a module. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u32);

impl ModuleId {
    /// Code that no file holds: a JIT compiler's. Its offsets are addresses.
    pub const JIT: Self = Self(u32::MAX - 1);
}

/// Where code lies: an offset in a module.
pub type CodePlace = (ModuleId, u64);

/// Where a process has mapped a part of a module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub module: ModuleId,
}
