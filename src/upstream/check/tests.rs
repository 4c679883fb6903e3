//! Checks against servers on the loopback.
