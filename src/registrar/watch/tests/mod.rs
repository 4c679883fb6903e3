//! A server of our own that breaks in all ways.
