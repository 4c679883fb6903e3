//! The upgrade: this process starts the program that lies in its place now, hands over, and only then drains.
//!
//! 1. The new process gets sockets, lock and secret ([`Legacy`]), reads its settings and the table, and listens at the
//!    same sockets as soon as its table is at least as new as this one's. Until [`GO`] it neither writes the image on the
//!    disk nor answers at the admin addresses.
//! 2. When all its workers serve, it says [`READY`]. This process stops what only one may do, and answers [`GO`].
//! 3. This process drains. Sockets never close meanwhile, so nobody is refused.
//!
//! Whatever goes wrong before that, a bad setting, a crash, too long a wait, ends the new process and changes nothing.
//! What came of it is said in the log, and for `flipgate upgrade` in a file of the data directory.

use super::Running;
use super::handover::{GO, HEIR_OF, Legacy, PATIENCE, READY};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The program is not there, or cannot be run.
    #[error("{program} cannot be started: {error}")]
    Start {
        /// Which.
        program: String,
        /// What the machine said.
        error: io::Error,
    },
    /// It ended, as with settings that it cannot read; its own messages say why.
    #[error("the new process ended before it was ready ({0})")]
    Ended(String),
    /// It was too slow.
    #[error("the new process was not ready within {0:?} (--upgrade-timeout)")]
    Late(Duration),
    /// Descriptors or words did not get through.
    #[error("the hand-over failed: {0}")]
    Io(#[from] io::Error),
}

/// How the program was called, to call it again.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// As it was named: looked up anew, so that another version may lie there.
    pub program: OsString,
    /// Without its own name.
    pub arguments: Vec<OsString>,
}

/// What became of an upgrade, as the file in the data directory tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeOutcome {
    /// Who was asked.
    pub old: u32,
    /// Who has taken over.
    pub new: Option<u32>,
    /// Why nobody has.
    pub reason: Option<String>,
}

impl UpgradeOutcome {
    /// Where it stands in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("upgrade")
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let (path, text) = (Self::path(data_dir), serde_json::to_vec(self)?);
        let new = path.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, path)
    }
}

/// A new process that has not taken over yet: dropping it ends it.
struct Heir(Option<Child>);

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ = child.start_kill();
            tokio::spawn(async move { child.wait().await });
        }
    }
}

impl Running {
    /// Starts the program anew and hands over to it. Then only [`shutdown`](Self::shutdown) is left to this process.
    /// Dropping the future ends the new process.
    ///
    /// # Errors
    /// The new process has not taken over; this one goes on as before.
    pub async fn upgrade(&mut self, how: &Invocation, longest: Duration) -> Result<u32, UpgradeError> {
        let handed = self.hand_over(how, longest).await;
        let outcome = UpgradeOutcome {
            old: std::process::id(),
            new: handed.as_ref().ok().copied(),
            reason: handed.as_ref().err().map(ToString::to_string),
        };
        if let Err(error) = outcome.write(&self.data_dir) {
            tracing::warn!(%error, "what became of the upgrade is not noted in the data directory");
        }
        handed
    }

    async fn hand_over(&mut self, how: &Invocation, longest: Duration) -> Result<u32, UpgradeError> {
        let control = self.control.clone();
        // Without the store the new process serves what is on the disk.
        let _ = tokio::task::spawn_blocking(move || control.flush_journal()).await;
        let (line, theirs) = UnixStream::pair()?;
        let mut heir = Heir(Some(spawn(how, theirs)?));
        let (legacy, sender) = (self.legacy()?, line.try_clone()?);
        let sent =
            tokio::task::spawn_blocking(move || legacy.send(&sender)).await.map_err(io::Error::other)?;
        let ready = match sent {
            Ok(()) => wait_ready(&line, longest).await,
            Err(error) => Err(error.into()),
        };
        let ended = match (&ready, heir.0.as_mut()) {
            // Who has closed the line has ended, or is about to.
            (Err(UpgradeError::Io(_)), Some(child)) => {
                timeout(Duration::from_secs(1), child.wait()).await.ok()
            }
            _ => None,
        };
        if let Some(Ok(status)) = ended {
            return Err(UpgradeError::Ended(status.to_string()));
        }
        ready?;
        // From here on there are two, and no way back: what only one may do is the new one's.
        let control = self.control.clone();
        let _ = tokio::task::spawn_blocking(move || control.sleep_journal()).await;
        self.stop_admin.cancel();
        self.bound.leave_files();
        let pid = heir.0.as_ref().and_then(Child::id);
        (&line).write_all(&[GO])?;
        // Its end is somebody else's to wait for.
        drop(heir.0.take());
        self.drain_delay = Duration::ZERO;
        self.sockets.clear();
        pid.ok_or_else(|| UpgradeError::Ended("at the last moment".to_owned()))
    }

    fn legacy(&self) -> io::Result<Legacy> {
        let socket = |place: usize| -> io::Result<Option<(SocketAddr, TcpListener)>> {
            let found = self.sockets.iter().find(|(of, ..)| *of == place);
            found.map(|(_, asked, socket)| Ok((*asked, socket.try_clone()?))).transpose()
        };
        Ok(Legacy {
            secret: Zeroizing::new(*self.secret),
            sockets: self.bound.hand_over()?,
            admin: socket(Self::ADMIN)?,
            health: socket(Self::HEALTH)?,
            lock: self.control.data_lock()?,
            least: self.control.status().revision,
            line: None,
        })
    }

    /// Tells the process before this one, if it waits, that the table is served, and takes what it lets go.
    ///
    /// # Errors
    /// It is gone, or has changed its mind: this process is not wanted.
    pub async fn take_over(&mut self) -> io::Result<()> {
        if let Some(line) = self.line.take() {
            let turn = move || -> io::Result<()> {
                line.set_read_timeout(Some(PATIENCE))?;
                (&line).write_all(&[READY])?;
                let mut word = [0];
                (&line).read_exact(&mut word)?;
                if word == [GO] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
            };
            tokio::task::spawn_blocking(turn).await.map_err(io::Error::other)??;
            let control = self.control.clone();
            let _ = tokio::task::spawn_blocking(move || control.wake_journal()).await;
        }
        self.may_answer.cancel();
        Ok(())
    }
}

fn spawn(how: &Invocation, line: UnixStream) -> Result<Child, UpgradeError> {
    let mut command = Command::new(&how.program);
    command
        .args(&how.arguments)
        .env(HEIR_OF, std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(line)));
    command
        .spawn()
        .map_err(|error| UpgradeError::Start { program: how.program.to_string_lossy().into_owned(), error })
}

async fn wait_ready(line: &UnixStream, longest: Duration) -> Result<(), UpgradeError> {
    let line = line.try_clone()?;
    line.set_nonblocking(true)?;
    let mut line = tokio::net::UnixStream::from_std(line)?;
    match timeout(longest, line.read_u8()).await {
        Ok(Ok(READY)) => {}
        Ok(Ok(_)) => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(UpgradeError::Late(longest)),
    }
    line.into_std()?.set_nonblocking(false)?;
    Ok(())
}
