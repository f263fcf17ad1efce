//! How soon the allocator of a program gives freed memory back to the kernel.
//!
//! mimalloc waits a second by default, which suits servers; whatever ends sooner never gives anything
//! back and needs twice the memory that it holds. The library reads no option from the program that it
//! is part of, only from variables of the environment before `main`, so its own function is called.
//! It has one use: a machine of little memory that upgrades itself. Giving back at once was dropped: a
//! buffer that is freed and asked for again in the next loop would cost a page fault each time.

use std::ffi::{c_int, c_long};
use std::time::Duration;

// For its library, which is linked in any case where this feature is on.
use libmimalloc_sys as _;

/// `mi_option_purge_delay` of mimalloc.h, the same in versions 2 and 3.
const PURGE_DELAY: c_int = 15;

// Its bindings declare it only together with all the rest. mimalloc.h: mi_option_t is an enum.
unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
    fn mi_option_get(option: c_int) -> c_long;
}

/// Lets mimalloc, where it is the program's allocator, give back memory that was free for so long. To be
/// called before there is a second thread: options are read without a lock.
pub fn give_back_after(time: Duration) {
    let milliseconds = c_long::try_from(time.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: it stores a number under an option that the library has; there is no other thread yet.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) }
}

/// After what time memory is given back.
#[must_use]
pub fn gives_back_after() -> Duration {
    // SAFETY: it reads a number.
    let milliseconds = unsafe { mi_option_get(PURGE_DELAY) };
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // What options.c of version 3 begins with: another value would mean that options have moved.
        assert_eq!(gives_back_after(), Duration::from_secs(1));
        give_back_after(Duration::from_millis(10));
        assert_eq!(gives_back_after(), Duration::from_millis(10));
    }
}
