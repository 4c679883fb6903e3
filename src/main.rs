//! The `flipgate` program: parse, run, exit code. Everything else is in the library, [`flipgate::cli`] first.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mimalloc.h`, in milliseconds.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    give_memory_back_soon();
    flipgate::cli::main()
}

/// What loading a large table left free goes back to the operating system within 10 ms, and not in the course of later
/// allocations, which an idle control plane does not make.
#[expect(unsafe_code, reason = "the allocator offers its options to C alone")]
fn give_memory_back_soon() {
    // SAFETY: the function stores a number under a valid option; it may be called at any time and keeps no pointer.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 10) }
}
