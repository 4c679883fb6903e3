//! Machines that are only networks: namespaces with wires between them.
//!
//! In Linux a network namespace belongs to a thread: what the thread binds, connects to or starts is in it. A machine
//! here is a thread that does what it is told, and is gone with all its devices and routes when that ends.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Task = Box<dyn FnOnce() + Send>;

/// A machine. Dropping it ends it; what was started on it keeps its network until it ends, too.
pub struct Machine {
    thread: Pid,
    tasks: Option<Sender<Task>>,
    handle: Option<JoinHandle<()>>,
}

impl Machine {
    /// One with nothing but loopback. `None` where this is not allowed, which is said, and fails in continuous
    /// integration.
    pub fn start(name: &str) -> Option<Self> {
        let (tasks, told) = channel::<Task>();
        let (sender, started) = channel();
        let thread = move || {
            sender.send(unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid())).unwrap();
            for task in told {
                task();
            }
        };
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(thread).unwrap();
        match started.recv().unwrap() {
            Ok(thread) => {
                let machine = Self { thread, tasks: Some(tasks), handle: Some(handle) };
                machine.ip("link set lo up");
                Some(machine)
            }
            Err(error) => {
                let text =
                    format!("no network of the test's own, which takes root with CAP_SYS_ADMIN: {error}");
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
                println!("SKIPPED, {text}");
                None
            }
        }
    }

    /// Does something on this machine, and waits for it.
    pub fn run<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, done) = channel();
        let task = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            sender.send(result).unwrap();
        };
        self.tasks.as_ref().unwrap().send(Box::new(task)).unwrap();
        done.recv().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `ip` on this machine, with arguments as one types them.
    pub fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(arguments.split_whitespace()).output();
            let output =
                output.unwrap_or_else(|error| panic!("cannot start ip (Debian's iproute2): {error}"));
            assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }

    /// A wire to another machine: a device here with an address, and one there.
    pub fn wire(
        &self,
        (device, address): (&str, &str),
        other: &Machine,
        (there, address_there): (&str, &str),
    ) {
        self.ip(&format!("link add {device} type veth peer name {there}"));
        self.ip(&format!("link set {there} netns {}", other.thread));
        for (machine, device, address) in [(self, device, address), (other, there, address_there)] {
            machine.ip(&format!("address add {address} dev {device}"));
            machine.ip(&format!("link set {device} up"));
        }
    }

    /// Lets packets pass from one wire to another.
    pub fn forward(&self) {
        self.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}
