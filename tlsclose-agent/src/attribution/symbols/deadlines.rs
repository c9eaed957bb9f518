//! How long the helper is waited for.

use std::time::Duration;

/// For names, in a module that was asked about before.
pub const NAMES_DEADLINE: Duration = Duration::from_secs(2);

/// For the first look at a module: its copy where it is to be named, its parsing, and the first names in it, each.
pub const FIRST_DEADLINE: Duration = Duration::from_secs(5);

/// For finding and copying a separate debug file.
pub const DEBUG_DEADLINE: Duration = Duration::from_secs(2);

/// For all names of one call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(15);

/// For one step to a caller.
pub const LEAF_DEADLINE: Duration = Duration::from_millis(500);
