//! Tasks, their processes and their descriptors.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use tlsclose_common::{facts::Comm, layout::ABSENT};

use super::{
    access,
    fields::{field, reads_by_address, word_at},
    globals::{LAYOUT, global},
    untyped_sock::Stray,
};

const PF_EXITING: u32 = 0x4;
const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x20_0000;

#[unsafe(no_mangle)]
static TASK_IO_URING: u32 = ABSENT;
#[unsafe(no_mangle)]
static TASK_THREAD_POINTER: u32 = ABSENT;

/// The current process in the high half, its thread in the low one.
#[inline(always)]
pub fn current_thread() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() }
}

/// A task and the process it belongs to.
#[derive(Clone, Copy)]
pub struct Task(*const c_void);

impl Task {
    #[inline(always)]
    pub fn current() -> Self {
        Self(access::current_task())
    }

    #[inline(always)]
    pub fn from_ptr(task: *const c_void) -> Self {
        Self(task)
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *const c_void {
        self.0
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        field!(self.0, task_tgid: u32)
    }

    /// Start of the process, in ns of CLOCK_BOOTTIME.
    #[inline(always)]
    pub fn started_at(self) -> u64 {
        let leader: *const c_void = field!(self.0, task_group_leader: *const c_void);
        field!(leader, task_start_boottime: u64)
    }

    #[inline(always)]
    pub fn is_leader(self) -> bool {
        let leader: *const c_void = field!(self.0, task_group_leader: *const c_void);
        leader as u64 == self.0 as u64
    }

    /// Tells this program in this process from any other: changes with PID, start and exec.
    #[inline(always)]
    pub fn image(self, started_at: u64) -> u64 {
        let execs = field!(self.0, task_self_exec_id: u32);
        started_at ^ ((self.tgid() as u64) << 40) ^ (execs as u64)
    }

    /// Has no user stack worth walking: a kernel thread or an io_uring worker.
    #[inline(always)]
    pub fn without_user_stack(self) -> bool {
        field!(self.0, task_flags: u32) & (PF_KTHREAD | PF_IO_WORKER) != 0
    }

    /// Name of the process: that of its first thread.
    #[inline(always)]
    pub fn comm(self) -> Comm {
        let leader: *const c_void = field!(self.0, task_group_leader: *const c_void);
        Comm(field!(leader, task_comm: [u32; 4]))
    }

    /// Inside `do_exit`.
    #[inline(always)]
    pub fn is_exiting(self) -> bool {
        field!(self.0, task_flags: u32) & PF_EXITING != 0
    }

    /// Uses io_uring, so may accept connections that no accept hook sees.
    #[inline(always)]
    pub fn uses_io_uring(self) -> bool {
        let offset = global!(TASK_IO_URING);
        if offset == ABSENT {
            return false;
        }
        access::load::<u64>(self.0, offset as usize) != 0
    }

    /// What user space calls pthread_self(); 0 where it is not known.
    #[inline(always)]
    pub fn thread_pointer(self) -> u64 {
        let offset = global!(TASK_THREAD_POINTER);
        if offset == ABSENT {
            return 0;
        }
        access::load(self.0, offset as usize)
    }

    /// The file it executes is called `python…`.
    #[inline(always)]
    pub fn executes_python(self) -> bool {
        const PYTHON: u64 = u64::from_le_bytes(*b"python\0\0");
        let mm: *const c_void = field!(self.0, task_mm: *const c_void);
        let file: *const c_void = field!(mm, mm_exe_file: *const c_void);
        let dentry: *const c_void = field!(file, file_dentry: *const c_void);
        let name: u64 = field!(dentry, dentry_name: u64);
        u64::from_le(word_at(name)) & 0xffff_ffff_ffff == PYTHON
    }

    /// Every thread of its process has ended, or is about to.
    #[inline(always)]
    pub fn is_last(self) -> bool {
        let signal: *const c_void = field!(self.0, task_signal: *const c_void);
        field!(signal, signal_live: u32) == 0
    }

    /// Address of its descriptor table, and whether the threads of its process alone have it.
    #[inline(always)]
    pub fn table(self) -> (u64, bool) {
        let files: *const c_void = field!(self.0, task_files: *const c_void);
        let signal: *const c_void = field!(self.0, task_signal: *const c_void);
        let users = field!(files, files_count: u32);
        (files as u64, users <= field!(signal, signal_nr_threads: u32))
    }

    /// How many descriptors its table has room for.
    #[inline(always)]
    pub fn descriptors(self) -> u32 {
        field!(self.descriptor_table(), fdt_max_fds: u32)
    }

    #[inline(always)]
    fn descriptor_table(self) -> *const c_void {
        let files: *const c_void = field!(self.0, task_files: *const c_void);
        field!(files, files_fdt: *const c_void)
    }

    /// Address of the file behind one of the task's descriptors; none if it is not open.
    #[inline(always)]
    pub fn file_at(self, fd: u32) -> Option<u64> {
        if !reads_by_address() {
            return None;
        }
        let fdt = self.descriptor_table();
        if fd >= field!(fdt, fdt_max_fds: u32) {
            return None;
        }
        let table: u64 = field!(fdt, fdt_fd: u64);
        let file = word_at(table + fd as u64 * 8);
        (file != 0).then_some(file)
    }

    /// The TCP socket behind one of the task's descriptors.
    pub fn socket_at(self, fd: u32) -> Option<Stray> {
        socket_of(self.file_at(fd)?)
    }
}

/// The TCP socket of the file at this address.
#[inline(always)]
pub fn socket_of(file: u64) -> Option<Stray> {
    let socket = word_at(file + global!(LAYOUT.file_private_data) as u64);
    if word_at(socket + global!(LAYOUT.socket_file) as u64) != file {
        // Another kind of file, with something else there.
        return None;
    }
    let sk = Stray(word_at(socket + global!(LAYOUT.socket_sk) as u64));
    sk.is_tcp().then_some(sk)
}
