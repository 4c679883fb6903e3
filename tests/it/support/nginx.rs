//! nginx, as a server behind the proxy and as the proxy to compare with.

use super::process::{Process, free_port};
use super::until;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// One nginx with one worker and one port.
pub struct Nginx {
    process: Process,
    _dir: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// A server that answers every request with its name.
    pub fn named(name: &str) -> Self {
        Self::serving(&format!(
            "location / {{ default_type text/plain; add_header X-Server {name}; return 200 \"{name}\\n\"; }}"
        ))
    }

    /// A server with locations of its own.
    pub fn serving(locations: &str) -> Self {
        Self::configured(|address| format!("server {{ listen {address} reuseport; {locations} }}"), None)
    }

    /// What stands within `http { }`, given the address; `core` pins the process.
    pub fn configured(http: impl Fn(SocketAddr) -> String, core: Option<usize>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        // Paths within the directory, so that nothing of the machine's own nginx is touched. Run as root, the worker
        // stays root: the directory is private.
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} worker_processes 1; pid nginx.pid; error_log stderr warn; daemon off;
             events {{ worker_connections 8192; }}
             http {{
               access_log off; server_tokens off; tcp_nodelay on; keepalive_requests 1000000;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
               uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               {}
             }}\n",
            http(address)
        );
        fs::write(dir.path().join("nginx.conf"), text).unwrap();
        let program = program();
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf")).args(["-e", "stderr"]);
        let mut process = Process::start(&mut command, &dir.path().join("output"));
        until("nginx answers", Duration::from_secs(10), || {
            assert!(process.ended().is_none(), "nginx ended: {}", process.output());
            TcpStream::connect(address).ok()
        });
        Self { process, _dir: dir, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process that does the work.
    pub fn worker_pid(&self) -> u32 {
        let master = self.process.pid();
        until("nginx has its worker", Duration::from_secs(5), || {
            let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker; a killed one would leave it behind.
        if self.process.ended().is_none() {
            self.process.signal(nix::sys::signal::Signal::SIGTERM);
            let late = std::time::Instant::now() + Duration::from_secs(5);
            while self.process.ended().is_none() && std::time::Instant::now() < late {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Debian puts it where the path of plain users does not lead.
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/nginx");
    if usual.exists() { usual } else { PathBuf::from("nginx") }
}
