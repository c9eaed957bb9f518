//! Before 5.15 the types of tasks, files and registers cannot be had: everything is read with
//! `bpf_probe_read_kernel`, which is dearer. And no helper walks a map (5.13), so sockets without a
//! descriptor are not looked for.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};

use crate::kernel::globals::{LAYOUT, global};

/// Offset of `task_struct.stack`.
#[unsafe(no_mangle)]
static TASK_STACK: u32 = 0;
/// Where `struct pt_regs` lies in a task's kernel stack.
#[unsafe(no_mangle)]
static STACK_REGISTERS: u32 = 0;

/// A field of a kernel structure; zero on a fault.
#[inline(always)]
pub fn load<T: Copy>(base: *const c_void, offset: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address, and fills the value: with zeroes on a fault.
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, base.wrapping_byte_add(offset));
        value.assume_init()
    }
}

#[inline(always)]
pub fn current_task() -> *const c_void {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_get_current_task() }) as *const c_void
}

/// The `struct socket` of a socket file, else NULL: only a socket knows its file.
#[inline(always)]
pub fn socket_from_file(file: *const c_void) -> *const c_void {
    let socket: *const c_void = load(file, global!(LAYOUT.file_private_data) as usize);
    let its_file: *const c_void = load(socket, global!(LAYOUT.socket_file) as usize);
    if its_file as u64 == file as u64 { socket } else { core::ptr::null() }
}

/// The `struct tcp_sock` of a full TCP socket, which begins with its `struct sock`.
#[inline(always)]
pub fn tcp_sock(sk: *const c_void) -> *const c_void {
    sk
}

/// The `struct pt_regs` of a task's way into the kernel.
#[inline(always)]
pub fn pt_regs(task: *const c_void) -> *const c_void {
    let stack: u64 = load(task, global!(TASK_STACK) as usize);
    (stack + global!(STACK_REGISTERS) as u64) as *const c_void
}

/// Not here.
///
/// # Safety
/// Nothing is called.
#[inline(always)]
pub unsafe fn for_each<K, V, C>(
    _: *mut c_void,
    _: unsafe extern "C" fn(*mut c_void, *const K, *mut V, *mut C) -> i64,
    _: *mut C,
) {
}
