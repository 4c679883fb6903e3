//! Networks of a test's own.
//!
//! In Linux a network namespace belongs to a thread: what the thread binds, connects to or starts is in it, threads and
//! processes likewise. A new one has a loopback device and nothing else. Local routes there make every address of the
//! pods' ranges one that can be listened on and connected to, with nothing to be set up for each.

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::process::Command;

/// The addresses of pods, as `ip route` takes them. Kubernetes refuses those of loopback.
pub const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/64"];

/// A network namespace, which is there as long as this or anybody in it.
pub struct Namespace(File);

impl Namespace {
    /// Moves the calling thread into a new one.
    fn unshared() -> Result<Self, Errno> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        ip(&["link", "set", "lo", "up"]);
        for range in PODS {
            let family = if range.contains(':') { "-6" } else { "-4" };
            ip(&[family, "route", "add", "local", range, "dev", "lo"]);
        }
        Ok(Self(File::open("/proc/thread-self/ns/net").unwrap()))
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

/// Runs `body` on a thread of its own in a new network; whoever else runs tests on the calling thread stays where it is.
/// `None` where this is not allowed, which is said, and fails in continuous integration.
pub fn within<T: Send>(body: impl FnOnce(&Namespace) -> T + Send) -> Option<T> {
    let caller = std::thread::current();
    let thread = std::thread::Builder::new().name(caller.name().unwrap_or("test").to_owned());
    std::thread::scope(|scope| {
        let inside = || match Namespace::unshared() {
            Ok(namespace) => Some(body(&namespace)),
            Err(error) => {
                let text = format!(
                    "no network of its own for the test, which takes root and CAP_SYS_ADMIN: {error}"
                );
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
                println!("SKIPPED, {text}");
                None
            }
        };
        let done = thread.spawn_scoped(scope, inside).unwrap().join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start ip (Debian's iproute2): {error}"));
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
