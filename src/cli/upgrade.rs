//! `flipgate upgrade`: another program in the place of a running one.

use super::context::{Context, Exit};
use super::flags::UpgradeFlags;
use crate::app::UpgradeOutcome;
use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the data directory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the running process gets above its own time-out.
const GRACE: Duration = Duration::from_secs(15);

/// Let the program on the disk take over from the running proxy
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate upgrade
  flipgate upgrade --data-dir /var/lib/flipgate

It sends SIGUSR2 to the proxy that has the data directory, and waits. That one starts its program anew, from where it lies \
and with the same arguments; the new process reads settings and table, gets the sockets, and once it serves the old one \
drains. If it does not come so far, the old one goes on.

Exits with 0 when the new process has taken over, with 1 when it has not, and with 2 when nobody could be asked.")]
pub(super) struct Upgrade {
    #[command(flatten)]
    flags: UpgradeFlags,
}

impl Upgrade {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let config = context.settings(self.flags.0, |_| true)?;
        let old = owner(&config.data_dir)?;
        let path = UpgradeOutcome::path(&config.data_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| path.display().to_string());
            }
            _ => {}
        }
        kill(old, Signal::SIGUSR2).with_context(|| format!("process {old} cannot be asked"))?;
        let late = Instant::now() + config.upgrade_timeout + GRACE;
        let outcome = loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let text = std::fs::read(&path).ok();
            if let Some(outcome) = text.and_then(|text| serde_json::from_slice::<UpgradeOutcome>(&text).ok())
            {
                break outcome;
            }
            if kill(old, None).is_err() {
                bail!("process {old} has ended without a word");
            }
            if Instant::now() > late {
                bail!("process {old} does not say what became of it; see its log");
            }
        };
        match (outcome.new, outcome.reason) {
            (Some(new), _) => {
                context.say(format_args!("process {new} has taken over from {old}, which drains"))?;
                Ok(Exit::Done)
            }
            (None, reason) => {
                let reason = reason.unwrap_or_default();
                context.note(format_args!("flipgate: process {old} goes on: {reason}"));
                Ok(Exit::No)
            }
        }
    }
}

/// The process that has a data directory.
fn owner(data_dir: &Path) -> anyhow::Result<Pid> {
    let path = data_dir.join("lock");
    let nobody = || format!("no proxy runs on the data directory {}", data_dir.display());
    let lock = File::open(&path).with_context(nobody)?;
    // Shared, so that two who ask at once do not take each other for the owner.
    match lock.try_lock_shared() {
        Ok(()) => bail!(nobody()),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
    }
    let text = std::fs::read_to_string(&path)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
    pid.map(Pid::from_raw).with_context(|| format!("{} names no process", path.display()))
}
