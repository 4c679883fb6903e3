//! What the process tells about itself: counters and their exposition, the access log, and the log of events.
//!
//! The request path writes into memory that its worker alone writes to; everything else reads from another thread.

pub mod access_log;
pub mod counters;
pub mod limit;
#[cfg(feature = "cli")]
pub mod logs;
pub mod metrics;
pub mod panics;
pub mod reason;
mod record;
pub mod severity;
pub mod trace;

pub use crate::model::{AccessLogFormat, AccessLogTarget};
pub use access_log::{AccessLog, AccessLogBuffer};
pub use counters::{
    BackendCounters, BackendTotals, DurationHistogram, FrontendCounters, ListenerCounters, RefusedCounters,
    WorkerSlots,
};
pub use limit::Limit;
pub use metrics::{FrontendLabels, Scrape};
pub use panics::{PanicIn, Restarts};
pub use reason::Reason;
pub use record::{AccessRecord, rfc3339};
pub use severity::Severity;
pub use trace::{TRACE_BYTES_MAX, Traces, trace_file};
