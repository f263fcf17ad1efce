//! What all fuzz programs share: the frame around a target and a bound on memory.
//!
//! libFuzzer's own `-malloc_limit_mb` sees nothing without a sanitizer's allocator, so the bound is
//! the allocator itself: a target that asks for more fails there and then, with a trace.

#[doc(hidden)]
pub use {kiln_fuzz, libfuzzer_sys};

use std::alloc::System;

use cap::Cap;

/// Bytes that one target may hold at a time.
const MEMORY: usize = 256 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);

/// Makes the program of one target.
#[macro_export]
macro_rules! program {
    ($target:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::kiln_fuzz::$target(data);
        });
    };
}
