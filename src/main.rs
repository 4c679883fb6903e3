//! The `flipgate` program: parse, run, exit code. Everything else is in the library, [`flipgate::cli`] first.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flipgate::cli::main()
}
