//! Failures of the store (E), of the process and its machine (P), each with what was promised for it.

mod process;
