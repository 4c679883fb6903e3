//! What one process hands to the next in an upgrade, and how it is put on the wire.
//!
//! The wire is one end of a pair of Unix sockets, which the new process has as its standard input. A letter goes first
//! (length, JSON), then one byte for each descriptor, with the descriptor (`SCM_RIGHTS`, unix(7)). Secrets stand in the
//! letter alone: not among arguments, not in the environment, on no disk. Then the two speak in single bytes: [`READY`]
//! from the new process, [`GO`] from the old one.

use crate::model::{ListenAddress, ListenerId, Revision};
use crate::proxy::Handed;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use zeroize::Zeroizing;

/// Its table serves.
pub(super) const READY: u8 = b'R';
/// The old process has stopped to write and to answer at its admin addresses.
pub(super) const GO: u8 = b'G';
/// Set for the new process: the id of the old one.
pub(super) const HEIR_OF: &str = "FLIPGATE_HEIR_OF";
/// How long one waits for the other's next word, but for [`READY`].
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A letter is a list of some sockets.
const LETTER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The first descriptor that systemd passes on.
const LISTEN_FDS_START: RawFd = 3;
/// More are not expected from systemd.
const LISTEN_FDS_MAX: i32 = 4096;

/// What a process begins with that others have left to it.
pub struct Legacy {
    /// Where TLS tickets and sticky cookies get their keys from.
    pub(super) secret: Zeroizing<[u8; 32]>,
    pub(super) sockets: Vec<Handed>,
    /// With the address that was asked for.
    pub(super) admin: Option<(SocketAddr, TcpListener)>,
    pub(super) health: Option<(SocketAddr, TcpListener)>,
    /// Of the data directory.
    pub(super) lock: Option<File>,
    /// What the old process serves.
    pub(super) least: Revision,
    /// To the old process, which waits.
    pub(super) line: Option<UnixStream>,
}

impl Default for Legacy {
    /// Nothing, and a secret of its own.
    fn default() -> Self {
        Self {
            secret: Zeroizing::new(rand::random()),
            sockets: Vec::new(),
            admin: None,
            health: None,
            lock: None,
            least: Revision(0),
            line: None,
        }
    }
}

/// What a descriptor is.
#[derive(Serialize, Deserialize)]
enum Item {
    Listener { id: String, asked: String },
    Admin { asked: SocketAddr },
    Health { asked: SocketAddr },
    Lock,
}

#[derive(Serialize, Deserialize)]
struct Letter {
    revision: u64,
    secret: [u8; 32],
    /// In the order in which the descriptors follow.
    items: Vec<Item>,
}

impl Legacy {
    /// What is left to this process by the one before it, or by systemd. Called once, before anything else is opened.
    ///
    /// # Errors
    /// It is an heir, and could not read what it was to inherit.
    pub fn of_process(env: &dyn Fn(&str) -> Option<String>) -> io::Result<Self> {
        let number = |name: &str| env(name).and_then(|text| text.parse::<i32>().ok());
        if number(HEIR_OF).is_some_and(|pid| pid == nix::unistd::getppid().as_raw()) {
            let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            return Self::receive(line);
        }
        let mut legacy = Self::default();
        if number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
            let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, LISTEN_FDS_MAX);
            for descriptor in LISTEN_FDS_START..LISTEN_FDS_START + count {
                // Once more, so that children do not get it.
                let socket = adopt(descriptor).try_clone()?;
                legacy.sockets.push(Handed { listener: None, sockets: vec![socket] });
            }
        }
        Ok(legacy)
    }

    fn receive(line: UnixStream) -> io::Result<Self> {
        line.set_read_timeout(Some(PATIENCE))?;
        let mut length = [0; 4];
        (&line).read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LETTER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = Zeroizing::new(vec![0; length]);
        (&line).read_exact(&mut text)?;
        let letter: Letter = serde_json::from_slice(&text)?;
        let mut legacy = Self {
            secret: Zeroizing::new(letter.secret),
            least: Revision(letter.revision),
            ..Self::default()
        };
        for item in letter.items {
            let descriptor = receive_descriptor(&line)?;
            match item {
                Item::Admin { asked } => legacy.admin = Some((asked, descriptor.into())),
                Item::Health { asked } => legacy.health = Some((asked, descriptor.into())),
                Item::Lock => legacy.lock = Some(descriptor.into()),
                Item::Listener { id, asked } => {
                    let (id, asked) = (ListenerId::try_from(id.as_str()), asked.parse::<ListenAddress>());
                    let (Ok(id), Ok(asked)) = (id, asked) else {
                        return Err(io::ErrorKind::InvalidData.into());
                    };
                    let listener = Some((id, asked));
                    match legacy.sockets.last_mut().filter(|last| last.listener == listener) {
                        Some(last) => last.sockets.push(descriptor),
                        None => legacy.sockets.push(Handed { listener, sockets: vec![descriptor] }),
                    }
                }
            }
        }
        line.set_read_timeout(None)?;
        legacy.line = Some(line);
        Ok(legacy)
    }

    /// Puts it on the wire. Waits for the reader.
    pub(super) fn send(self, line: &UnixStream) -> io::Result<()> {
        line.set_write_timeout(Some(PATIENCE))?;
        let (mut items, mut descriptors) = (Vec::new(), Vec::<OwnedFd>::new());
        for handed in self.sockets {
            // What systemd opened is found by its address again, under the name of who took it.
            let Some((id, asked)) = handed.listener else { continue };
            for socket in handed.sockets {
                items.push(Item::Listener { id: id.to_string(), asked: asked.to_string() });
                descriptors.push(socket);
            }
        }
        if let Some((asked, socket)) = self.admin {
            items.push(Item::Admin { asked });
            descriptors.push(socket.into());
        }
        if let Some((asked, socket)) = self.health {
            items.push(Item::Health { asked });
            descriptors.push(socket.into());
        }
        if let Some(lock) = self.lock {
            items.push(Item::Lock);
            descriptors.push(lock.into());
        }
        let letter = Letter { revision: self.least.0, secret: *self.secret, items };
        let text = Zeroizing::new(serde_json::to_vec(&letter)?);
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut writer = line;
        writer.write_all(&length.to_be_bytes())?;
        writer.write_all(&text)?;
        for descriptor in descriptors {
            let rights = [descriptor.as_raw_fd()];
            let (bytes, rights) = ([IoSlice::new(&[0])], [ControlMessage::ScmRights(&rights)]);
            sendmsg::<()>(line.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None)?;
        }
        Ok(())
    }
}

fn receive_descriptor(line: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(line.as_raw_fd(), &mut bytes, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = message
            && let Some(descriptor) = rights.first()
        {
            return Ok(adopt(*descriptor));
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Owns a descriptor that the system has just given to this process under this number.
#[expect(unsafe_code, reason = "a descriptor from outside is a number; only here it becomes an owned one")]
fn adopt(descriptor: RawFd) -> OwnedFd {
    // SAFETY: `recvmsg` made it a moment ago, or the parent left it open for this process at its start and said so
    // (sd_listen_fds(3)); either way nobody else in this process knows the number, and each is adopted once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let (old, new) = UnixStream::pair().unwrap();
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (admin, first, second) = (tcp(), tcp(), tcp());
        let addresses = [&admin, &first, &second].map(|socket| socket.local_addr().unwrap());
        let asked: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let listener = Some((ListenerId::try_from("http").unwrap(), asked));
        let secret = [7; 32];
        let sent = Legacy {
            secret: Zeroizing::new(secret),
            sockets: vec![Handed { listener: listener.clone(), sockets: vec![first.into(), second.into()] }],
            admin: Some(("127.0.0.1:0".parse().unwrap(), admin)),
            lock: Some(tempfile::tempfile().unwrap()),
            least: Revision(42),
            ..Legacy::default()
        };
        sent.send(&old).unwrap();
        let got = Legacy::receive(new).unwrap();
        assert_eq!((*got.secret, got.least), (secret, Revision(42)));
        assert!(got.lock.is_some() && got.health.is_none() && got.line.is_some());
        assert_eq!(got.admin.unwrap().1.local_addr().unwrap(), addresses[0]);
        assert_eq!(got.sockets.len(), 1);
        let handed = got.sockets.into_iter().next().unwrap();
        assert_eq!(handed.listener, listener);
        let bound = handed.sockets.into_iter().map(|fd| TcpListener::from(fd).local_addr().unwrap());
        assert_eq!(bound.collect::<Vec<_>>(), addresses[1..]);
    }

    #[test]
    fn nothing_is_inherited_from_strangers() {
        for (pid, count) in [("1", "3"), ("x", "1"), ("-4", "1")] {
            let env = |name: &str| match name {
                "LISTEN_PID" => Some(pid.to_owned()),
                "LISTEN_FDS" => Some(count.to_owned()),
                HEIR_OF => Some("999999999".to_owned()),
                _ => None,
            };
            let legacy = Legacy::of_process(&env).unwrap();
            assert!(legacy.sockets.is_empty() && legacy.line.is_none());
        }
    }
}
