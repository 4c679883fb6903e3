//! The promises of this room, as data.
