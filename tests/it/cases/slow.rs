//! Slow clients, W01 to W07.
