//! What must hold whatever the bytes are: one module for each target, with a `check` that panics where it does not.

pub mod body;
pub mod directory;
pub mod h2_to_h1;
pub mod object;
pub mod proxy_header;
pub mod request_head;
pub mod response_head;
pub mod route;
pub mod snapshot;
mod strict;

/// Panics where an input breaks what must hold.
pub type Check = fn(&[u8]);

/// Every target with its check.
pub const TARGETS: [(&str, Check); 10] = [
    ("body", body::check),
    ("directory", directory::check),
    ("frame_meter", flipgate::proxy::check_meter),
    ("h2_to_h1", h2_to_h1::check),
    ("object", object::check),
    ("proxy_header", proxy_header::check),
    ("request_head", request_head::check),
    ("response_head", response_head::check),
    ("route", route::check),
    ("snapshot", snapshot::check),
];
