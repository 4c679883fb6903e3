//! The access log's form and target, as settings name them.

use std::path::PathBuf;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessLogTarget {
    /// Nowhere; formatting is skipped.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, which is opened anew by `SIGHUP`.
    File(PathBuf),
}
