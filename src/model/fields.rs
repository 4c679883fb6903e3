//! Reads the fields of a JSON value.
