//! How much the log of events tells, by vulcand's names. Whoever set the log up lets it be changed while it runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// What is logged, and everything above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As [`Error`](Self::Error): nothing here is above it.
    Panic,
    /// As [`Error`](Self::Error): nothing here is above it.
    Fatal,
    /// Errors alone.
    Error,
    /// Also warnings.
    Warning,
    /// Also what happens.
    Info,
    /// Also why.
    Debug,
    /// Everything; a release build has nothing below [`Debug`](Self::Debug).
    Trace,
}

impl Severity {
    const ALL: [Self; 7] =
        [Self::Panic, Self::Fatal, Self::Error, Self::Warning, Self::Info, Self::Debug, Self::Trace];

    /// Reads a name, without regard to case; `warn` is `warning`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = if name == "warn" { "warning" } else { &name };
        Self::ALL.into_iter().find(|severity| severity.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level of events that it stands for.
    pub fn level(self) -> tracing::Level {
        match self {
            Self::Panic | Self::Fatal | Self::Error => tracing::Level::ERROR,
            Self::Warning => tracing::Level::WARN,
            Self::Info => tracing::Level::INFO,
            Self::Debug => tracing::Level::DEBUG,
            Self::Trace => tracing::Level::TRACE,
        }
    }
}

struct Control {
    current: AtomicU8,
    set: Box<dyn Fn(Severity) -> bool + Send + Sync>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Lets the process's log be changed from now on through `set`, which says whether that worked. The first call counts.
pub fn install(initial: Severity, set: impl Fn(Severity) -> bool + Send + Sync + 'static) {
    CONTROL.get_or_init(|| Control { current: AtomicU8::new(initial as u8), set: Box::new(set) });
}

/// What is logged now; `None`: the log is not this program's to change.
pub fn current() -> Option<Severity> {
    let current = CONTROL.get()?.current.load(Ordering::Relaxed);
    Severity::ALL.get(usize::from(current)).copied()
}

/// Changes what is logged, at once and until the process ends; false: it could not be changed.
pub fn set(severity: Severity) -> bool {
    let Some(control) = CONTROL.get() else { return false };
    let changed = (control.set)(severity);
    if changed {
        control.current.store(severity as u8, Ordering::Relaxed);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_vulcands() {
        for severity in Severity::ALL {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
            assert_eq!(Severity::parse(&severity.as_str().to_uppercase()), Some(severity));
        }
        assert_eq!(Severity::parse("warn"), Some(Severity::Warning));
        for name in ["", "blah", "infos", "0"] {
            assert_eq!(Severity::parse(name), None, "{name}");
        }
    }
}
