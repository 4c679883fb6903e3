//! What a verb runs against: its streams, its environment, and how results are to be printed.

use super::flags::TargetFlags;
use super::target::Target;
use crate::config::{self, Config, Partial};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// A negative answer: not there, not ready, not as expected, errors found.
    No,
    /// It could not be done, or not be understood.
    Error,
    /// A proxy got no table in time.
    NoTable,
    /// A flip is written, and not yet safe.
    NotSafe,
    /// A second signal ended it, whatever was open.
    AtOnce,
}

impl Exit {
    /// The exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Error => 2,
            Self::NoTable | Self::NotSafe => 3,
            Self::AtOnce => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// For whom results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// The streams and the environment of a process, or of a test.
pub struct Io<'a> {
    /// Read by `-f -`.
    pub stdin: &'a mut dyn Read,
    /// Results, and nothing else.
    pub stdout: &'a mut dyn Write,
    /// Messages.
    pub stderr: &'a mut dyn Write,
    /// Variables by name.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// What a verb runs against.
pub struct Context<'a, 'io> {
    /// Streams and environment.
    pub io: &'a mut Io<'io>,
    /// `--output`
    pub output: Output,
    /// `--config`
    pub config: Option<PathBuf>,
}

impl Context<'_, '_> {
    /// Prints a line of the result.
    pub(super) fn say(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.io.stdout, "{}", harmless(&line.to_string()))
    }

    /// Prints a result for programs.
    pub(super) fn json(&mut self, value: &Value) -> io::Result<()> {
        self.say(format_args!("{value:#}"))
    }

    /// Prints a line for programs or people, at once.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.say(line)?;
        self.io.stdout.flush()
    }

    /// Prints one of two forms of a result.
    pub(super) fn answer(
        &mut self,
        text: impl fmt::Display,
        value: impl FnOnce() -> Value,
    ) -> io::Result<()> {
        match self.output {
            Output::Text => self.say(text),
            Output::Json => self.json(&value()),
        }
    }

    /// Prints a message. That nobody reads messages stops nothing.
    pub(super) fn note(&mut self, line: impl fmt::Display) {
        drop(writeln!(self.io.stderr, "{}", harmless(&line.to_string())));
    }

    /// Settings: flags, then environment, then file, then defaults. Of the environment, only variables that `keeps`
    /// names are read.
    pub(super) fn settings(&self, flags: Partial, keeps: impl Fn(&str) -> bool) -> anyhow::Result<Config> {
        let variable =
            (self.io.env)("FLIPGATE_CONFIG").filter(|path| !path.trim().is_empty()).map(PathBuf::from);
        let file = config::read_file(self.config.as_deref().or(variable.as_deref()))?;
        let env = |name: &str| (self.io.env)(name).filter(|_| keeps(name));
        Ok(Config::resolve(flags, env, file)?)
    }

    /// The store or the admin API that a verb speaks to.
    pub(super) fn target(&self, flags: &TargetFlags) -> anyhow::Result<Target> {
        flags.open(self)
    }

    /// All of standard input for `-`, else of a file.
    ///
    /// # Errors
    /// It cannot be read, has more than [`TEXT_BYTES_MAX`] bytes, or is not text.
    pub(super) fn read(&mut self, path: &Path) -> anyhow::Result<String> {
        let (name, text) = if path == Path::new("-") {
            ("standard input".to_owned(), limited(&mut *self.io.stdin))
        } else {
            (path.display().to_string(), std::fs::File::open(path).and_then(limited))
        };
        text.map_err(|error| anyhow::anyhow!("{name} cannot be read: {error}"))
    }
}

/// The text without what would command a terminal: names and reasons come from whoever writes to a store. Within JSON, the
/// form in which such a character is shown stands for it.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let commands = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && c != '\n' && c != '\t')
    };
    if !text.contains(commands) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match commands(c) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Most bytes of a file of documents.
const TEXT_BYTES_MAX: u64 = 256 * 1024 * 1024;

fn limited(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let bytes = reader.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > TEXT_BYTES_MAX) {
        return Err(io::Error::other(format!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn nothing_commands_a_terminal() {
        for (text, shown) in [
            ("é\tb\n日本", "é\tb\n日本"),
            ("\u{1b}[2J\u{7}a\r\u{7f}", "\\u001b[2J\\u0007a\\u000d\\u007f"),
            ("\u{9b}31m\u{202e}x", "\\u009b31m\\u202ex"),
        ] {
            assert_eq!(harmless(text), shown);
            let json = serde_json::Value::from(text);
            let read: serde_json::Value = serde_json::from_str(&harmless(&json.to_string())).unwrap();
            assert_eq!(read, json);
        }
    }
}
