//! Descriptor tables that the walk over all tasks shows more than once.
//!
//! The kernel leaves out threads that share the table of their process's first thread. A table that
//! several processes share (clone() with CLONE_FILES) comes once for each of them, and when the first
//! thread has ended before the others (pthread_exit() in main), once for each thread
//! (kernel/bpf/task_iter.c, `task_seq_get_next`).

use tlsclose_common::facts::{Lost, Table, table};

use crate::{
    kernel::Task,
    maps::{CONTROL, TABLES, Values, lost},
};

/// The walk comes to another task: one of [`table`]. Before 5.11 the walk itself is a user of each table: there all of them
/// are remembered, which costs more and counts the same.
#[inline(always)]
pub fn of(task: Task) -> u64 {
    let (address, is_own) = task.table();
    if is_own && task.is_leader() { table::OWN } else { common(task, address) }
}

#[inline(always)]
fn common(task: Task, address: u64) -> u64 {
    let Some(control) = CONTROL.get(0) else { return table::COMMON };
    let now = Table { task: task.as_ptr() as u64, tgid: task.tgid(), census: control.census };
    if let Some(&first) = TABLES.value(address)
        && first.census == now.census
    {
        let is_again = first.tgid == now.tgid && first.task != now.task;
        return if is_again { table::SEEN } else { table::COMMON };
    }
    if TABLES.insert(address, now, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
    table::COMMON
}
