//! What is said of a deployment: to the log in the store, line by line under a number each, and to this process's own.

use super::{Charge, Trouble, put_state};
use crate::deployer::record::{LogLine, log_key};
use crate::store::{Operation, Transaction};
use crate::telemetry::rfc3339;
use std::time::SystemTime;

/// Lines of one deployment's log.
pub(in crate::deployer) const LINES_MAX: u64 = 2_000;
/// Bytes of one line.
pub(in crate::deployer) const LINE_BYTES_MAX: usize = 4 * 1024;
/// Lines of one write.
const BATCH_MAX: usize = 50;
const LAST_LINE: &str = "the log ends here: it has as many lines as it may have";

impl Charge {
    /// Adds a line to the deployment's log, unless it is what was said last.
    pub fn say(&mut self, line: impl Into<String>) {
        let mut text = one_line(line.into());
        if text == self.last_said {
            return;
        }
        tracing::info!(app = %self.app, deployment = self.deployment.id, "{text}");
        self.last_said.clone_from(&text);
        let number = self.line.saturating_add(u64::try_from(self.said.len()).unwrap_or(u64::MAX));
        match number.cmp(&LINES_MAX) {
            std::cmp::Ordering::Greater => return,
            std::cmp::Ordering::Equal => LAST_LINE.clone_into(&mut text),
            std::cmp::Ordering::Less => {}
        }
        self.said.push_back(LogLine { at: rfc3339(SystemTime::now()), text });
    }

    /// Writes what was said, if anything was: one write.
    ///
    /// # Errors
    /// It was not written, or nobody knows; it is written with the next.
    pub async fn flush(&mut self) -> Result<(), Trouble> {
        if self.said.is_empty() {
            return Ok(());
        }
        let before = self.doubt;
        let written = self.commit(Transaction::default()).await;
        if !matches!(written, Err(Trouble::Lost(_))) {
            // Lines written twice are the same lines: nothing of the deployment is in doubt.
            self.doubt = before;
        }
        written.map(drop)
    }

    /// The log has this many lines already.
    pub(in crate::deployer) fn log_goes_on_after(&mut self, lines: u64) {
        self.line = lines.saturating_add(1);
    }

    pub(super) fn line_puts(&self, room: usize) -> Vec<Operation> {
        let line = |(number, line)| put_state(log_key(&self.app, &self.deployment.id, number), line);
        (self.line..).zip(&self.said).take(room.min(BATCH_MAX)).map(line).collect()
    }

    pub(super) fn lines_written(&mut self, count: usize) {
        let count = count.min(self.said.len());
        self.said.drain(..count);
        self.line = self.line.saturating_add(u64::try_from(count).unwrap_or_default());
    }
}

/// A text as one line of a log: what others' programs say may be long, and may command a terminal.
pub(in crate::deployer) fn one_line(mut text: String) -> String {
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, " ");
    }
    cut(&mut text, LINE_BYTES_MAX);
    text
}

/// Takes away what is beyond `bytes`, and says so with three dots.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let mut end = bytes.saturating_sub("...".len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_between_characters() {
        for (text, bytes, expected) in
            [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abc..."), ("abééé", 6, "ab...")]
        {
            let mut text = text.to_owned();
            cut(&mut text, bytes);
            assert_eq!(text, expected);
        }
    }
}
