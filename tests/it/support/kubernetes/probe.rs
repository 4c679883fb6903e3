//! Whether a pod's process may get requests: as its readiness probe says, or once its port accepts.

use k8s_openapi::api::core::v1::{Container, Pod as Object, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// An annotation: milliseconds between probes, in place of `periodSeconds`, which cannot be less than 1.
pub const PERIOD_MILLIS: &str = "test/probe-millis";

/// The looks at one process, from its start on.
pub struct Readiness {
    address: SocketAddr,
    path: Option<String>,
    period: Duration,
    silence_max: Duration,
    /// Answers in a row that it takes to turn.
    to_ready: u32,
    to_unready: u32,
    /// Without a probe it stays ready as long as it runs.
    is_probed: bool,
    next: Instant,
    against: u32,
    is_ready: bool,
}

impl Readiness {
    pub fn of(object: &Object, address: IpAddr) -> Self {
        let container = object.spec.as_ref().and_then(|spec| spec.containers.first());
        let probe = container.and_then(|container| container.readiness_probe.as_ref());
        let http = probe.and_then(|probe| probe.http_get.as_ref());
        let tcp = probe.and_then(|probe| probe.tcp_socket.as_ref());
        let named = http.map(|http| &http.port).or(tcp.map(|tcp| &tcp.port));
        let port = named.and_then(|port| resolve(container?, port)).or(ports(object).first().copied());
        let seconds = |of: fn(&Probe) -> Option<i32>, usual: u64| {
            Duration::from_secs(
                probe.and_then(of).and_then(|seconds| seconds.try_into().ok()).unwrap_or(usual),
            )
        };
        let times = |of: fn(&Probe) -> Option<i32>, usual: u32| {
            probe.and_then(of).and_then(|times| times.try_into().ok()).unwrap_or(usual)
        };
        let millis = object.metadata.annotations.as_ref().and_then(|all| all.get(PERIOD_MILLIS));
        let is_probed = http.is_some() || tcp.is_some();
        let period = millis.map(|millis| Duration::from_millis(millis.parse().unwrap()));
        let usual =
            if is_probed { seconds(|probe| probe.period_seconds, 10) } else { Duration::from_millis(20) };
        Self {
            address: SocketAddr::new(address, port.unwrap_or(USUAL_PORT)),
            path: http.map(|http| http.path.clone().unwrap_or_else(|| "/".to_owned())),
            period: period.unwrap_or(usual),
            silence_max: seconds(|probe| probe.timeout_seconds, 1),
            to_ready: times(|probe| probe.success_threshold, 1),
            to_unready: times(|probe| probe.failure_threshold, 3),
            is_probed,
            next: Instant::now() + seconds(|probe| probe.initial_delay_seconds, 0),
            against: 0,
            is_ready: false,
        }
    }

    /// Looks, if it is time to. Whether it is ready.
    pub async fn look(&mut self) -> bool {
        if Instant::now() < self.next || (self.is_ready && !self.is_probed) {
            return self.is_ready;
        }
        self.next = Instant::now() + self.period;
        let answer = timeout(self.silence_max, ask(self.address, self.path.as_deref())).await;
        if matches!(answer, Ok(Ok(true))) == self.is_ready {
            self.against = 0;
            return self.is_ready;
        }
        self.against += 1;
        if self.against >= if self.is_ready { self.to_unready } else { self.to_ready } {
            self.against = 0;
            self.is_ready = !self.is_ready;
        }
        self.is_ready
    }
}

/// Where a pod listens whose object names no port.
const USUAL_PORT: u16 = 8080;

/// The ports of a pod's containers, at least one.
pub fn ports(object: &Object) -> Vec<u16> {
    let containers = object.spec.iter().flat_map(|spec| &spec.containers);
    let named = containers.flat_map(|container| container.ports.iter().flatten());
    let ports = named.map(|port| u16::try_from(port.container_port).unwrap()).collect::<Vec<_>>();
    if ports.is_empty() { vec![USUAL_PORT] } else { ports }
}

fn resolve(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => (*number).try_into().ok(),
        IntOrString::String(name) => {
            let found = container.ports.iter().flatten().find(|one| one.name.as_ref() == Some(name))?;
            found.container_port.try_into().ok()
        }
    }
}

/// Whether it accepts, and answers well if there is a path to ask for.
async fn ask(address: SocketAddr, path: Option<&str>) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let Some(path) = path else { return Ok(true) };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.33\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    // `HTTP/1.1 204`
    Ok(matches!(start[9], b'2' | b'3'))
}
