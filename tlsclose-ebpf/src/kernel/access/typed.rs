//! Since 5.15 the verifier knows the type of nearly every pointer met here: a field is one load.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_for_each_map_elem, bpf_get_current_task_btf, bpf_skc_to_tcp_sock, bpf_sock_from_file, bpf_task_pt_regs,
};

/// A field of a kernel structure; zero on a fault.
#[inline(always)]
pub fn load<T: Copy>(base: *const c_void, offset: usize) -> T {
    // SAFETY: the verifier checks type and bounds of this load; a fault reads as zero.
    unsafe { core::ptr::read_volatile(base.byte_add(offset).cast::<T>()) }
}

#[inline(always)]
pub fn current_task() -> *const c_void {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task_btf() as *const c_void }
}

/// The `struct socket` of a socket file, else NULL.
#[inline(always)]
pub fn socket_from_file(file: *const c_void) -> *const c_void {
    // SAFETY: the verifier checks that this is a file.
    unsafe { bpf_sock_from_file(file as *mut _) as *const c_void }
}

/// The `struct tcp_sock` of a full TCP socket, else NULL.
#[inline(always)]
pub fn tcp_sock(sk: *const c_void) -> *const c_void {
    // SAFETY: the verifier checks that this is a socket.
    unsafe { bpf_skc_to_tcp_sock(sk as *mut _) as *const c_void }
}

/// The `struct pt_regs` of a task's way into the kernel.
#[inline(always)]
pub fn pt_regs(task: *const c_void) -> *const c_void {
    // SAFETY: the verifier checks that this is a task.
    unsafe { bpf_task_pt_regs(task as *mut _) as *const c_void }
}

/// Calls `callback(map, key, value, context)` for each entry of the map at this address.
///
/// # Safety
/// `map` must be the static of a map, and `callback` fit its entries and `context`.
#[inline(always)]
pub unsafe fn for_each<K, V, C>(
    map: *mut c_void,
    callback: unsafe extern "C" fn(*mut c_void, *const K, *mut V, *mut C) -> i64,
    context: *mut C,
) {
    // SAFETY: the caller's promise.
    unsafe { bpf_for_each_map_elem(map, callback as *mut c_void, context.cast(), 0) };
}
