//! The log of events: where the program, and only the program, sets it up. The library installs nothing.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// How events look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not one.
    #[error("{0:?} is not a log level: use error, warn, info, debug, or `info,flipgate::control=debug`")]
    Level(String, #[source] ParseError),
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice(#[source] TryInitError),
}

/// Sends events to standard error from now on, in colours where that is a terminal and `NO_COLOR` is not set. `level` is `error`, `warn`, `info`, `debug`, or several of them by
/// module: `info,flipgate::control=debug`.
///
/// # Errors
/// The level cannot be read, or a subscriber is installed already.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogError> {
    use std::io::IsTerminal;
    use tracing_subscriber::util::SubscriberInitExt;

    let filter =
        EnvFilter::builder().parse(level).map_err(|error| LogError::Level(level.to_owned(), error))?;
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    result.map_err(LogError::Twice)
}
