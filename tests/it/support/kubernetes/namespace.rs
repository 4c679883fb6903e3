//! Networks of a test's own.
//!
//! In Linux a network namespace belongs to a thread: what the thread binds, connects to or starts is in it, threads and
//! processes likewise. A new one has a loopback device and nothing else. Local routes there make every address of the
//! pods' ranges one that can be listened on and connected to, with nothing to be set up for each.

use nix::sched::{CloneFlags, unshare};
use std::process::Command;

/// The addresses of pods, as `ip route` takes them. Kubernetes refuses those of loopback.
const PODS: [(&str, &str); 2] = [("-4", "10.244.0.0/16"), ("-6", "fd00:244::/64")];

/// Runs `body` on a thread of its own in a new network; whoever else runs tests on the calling thread stays where it is.
/// `None` where this is not allowed, which is said, and fails in continuous integration.
pub fn within<T: Send>(body: impl FnOnce() -> T + Send) -> Option<T> {
    let caller = std::thread::current();
    let thread = std::thread::Builder::new().name(caller.name().unwrap_or("test").to_owned());
    let inside = || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            let text = format!("no network of the test's own, which takes root with CAP_SYS_ADMIN: {error}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
            println!("SKIPPED, {text}");
            return None;
        }
        ip(&["link", "set", "lo", "up"]);
        for (family, range) in PODS {
            ip(&[family, "route", "add", "local", range, "dev", "lo"]);
        }
        Some(body())
    };
    std::thread::scope(|scope| {
        let done = thread.spawn_scoped(scope, inside).unwrap().join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start ip (Debian's iproute2): {error}"));
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
