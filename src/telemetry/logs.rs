//! The log of events: where the program, and only the program, sets it up. The library installs nothing.

use super::severity::{self, Severity};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::reload::Handle;
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
/// module: `info,flipgate::control=debug`. What is logged can be changed through [`severity::set`] then.
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
    let initial = named(filter.max_level_hint());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init().map_err(LogError::Twice)?;
            severity::install(initial, change(handle));
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init().map_err(LogError::Twice)?;
            severity::install(initial, change(handle));
        }
    }
    Ok(())
}

/// One level for all modules.
fn change<S: 'static>(handle: Handle<EnvFilter, S>) -> impl Fn(Severity) -> bool + Send + Sync + 'static {
    move |severity| handle.reload(EnvFilter::new(severity.level().as_str().to_ascii_lowercase())).is_ok()
}

/// The most that any module tells.
fn named(most: Option<LevelFilter>) -> Severity {
    match most {
        Some(LevelFilter::OFF) => Severity::Panic,
        Some(LevelFilter::ERROR) => Severity::Error,
        Some(LevelFilter::WARN) => Severity::Warning,
        Some(LevelFilter::DEBUG) => Severity::Debug,
        Some(LevelFilter::TRACE) => Severity::Trace,
        _ => Severity::Info,
    }
}
