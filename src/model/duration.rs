//! Durations in Go's form.
