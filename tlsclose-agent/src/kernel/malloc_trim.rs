//! Gives freed memory back to the kernel: loading the programs needs tens of MiB for a moment,
//! and the agent is to stay small.

/// Asks the allocator to return what it does not use (glibc's `malloc_trim(3)`).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> i32;
        }
        malloc_trim(0);
    }
}
