//! Bad servers, U01 to U15.
