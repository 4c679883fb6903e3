//! Statistics to statsd, as vulcand sends them: gauges over UDP, once a second.

use super::running::Running;
use super::top::{QUANTILES, Stats, Top};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// Between two reports.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most bytes of a datagram: what passes an Ethernet in one piece.
const DATAGRAM_BYTES_MAX: usize = 1_432;
/// Most frontends that are told of, the worst and busiest first.
pub const FRONTENDS_MAX: usize = 10_000;

/// Sends to `HOST:PORT` until `stop`. A name is resolved anew where sending fails; nothing is kept for later.
pub async fn report(address: String, prefix: String, running: Arc<dyn Running>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut socket = None;
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (running, prefix) = (running.clone(), prefix.clone());
        // Adding up takes time in proportion to what had requests.
        let gauges =
            tokio::task::spawn_blocking(move || gauges(&prefix, running.top(None), &running.connections()));
        let Ok(gauges) = gauges.await else { continue };
        let sent = async {
            let to = match socket.take() {
                Some(socket) => socket,
                None => connect(&address).await?,
            };
            for datagram in datagrams(&gauges) {
                to.send(datagram.as_bytes()).await?;
            }
            std::io::Result::Ok(to)
        };
        match sent.await {
            Ok(kept) => {
                socket = Some(kept);
                failing = false;
            }
            Err(error) if !failing => {
                tracing::warn!(%address, %error, "statsd gets nothing");
                failing = true;
            }
            Err(_) => {}
        }
    }
}

async fn connect(address: &str) -> std::io::Result<UdpSocket> {
    let mut last = std::io::Error::other("the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let any: std::net::SocketAddr = match address.is_ipv4() {
            true => ([0, 0, 0, 0], 0).into(),
            false => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One gauge a line.
fn gauges(prefix: &str, mut top: Top, connections: &[(String, u64)]) -> Vec<String> {
    top.sort();
    let prefix = match prefix.trim_end_matches('.') {
        "" => String::new(),
        prefix => format!("{}.", escaped(prefix)),
    };
    let mut lines = Vec::new();
    for (address, open) in connections {
        lines.push(format!("{prefix}conns.{}.active:{open}|g", escaped(address)));
    }
    for frontend in top.frontends.iter().take(FRONTENDS_MAX) {
        let id = escaped(&frontend.object.id.as_str().replace('.', "_"));
        frontend_gauges(&format!("{prefix}frontend.{id}"), &frontend.stats, &mut lines);
    }
    lines
}

fn frontend_gauges(name: &str, stats: &Stats, lines: &mut Vec<String>) {
    lines.extend(stats.codes.iter().map(|(code, count)| format!("{name}.code.{code}:{count}|g")));
    lines.push(format!("{name}.neterr:{}|g", stats.network_errors));
    lines.push(format!("{name}.reqs:{}|g", stats.total));
    for (percent, micros) in QUANTILES.iter().zip(stats.quantiles) {
        lines.push(format!("{name}.rtt.{:.0}:{micros}|g", percent * 10.0));
    }
}

/// Everything but letters, digits, `_` and `.` becomes `_`.
fn escaped(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' };
    text.chars().map(keep).collect()
}

/// As many lines in one as fit.
fn datagrams(lines: &[String]) -> Vec<String> {
    let mut datagrams: Vec<String> = Vec::new();
    for line in lines {
        match datagrams.last_mut().filter(|last| last.len() + 1 + line.len() <= DATAGRAM_BYTES_MAX) {
            Some(last) => {
                last.push('\n');
                last.push_str(line);
            }
            None => datagrams.push(line.clone()),
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::fake;

    #[test]
    fn gauges_have_vulcands_names() {
        let running = fake();
        let lines = gauges("edge-1.", running.top(None), &running.connections());
        assert_eq!(
            lines[..9],
            [
                "edge_1.conns.127.0.0.1_8080.active:3|g",
                "edge_1.frontend.new.code.502:1|g",
                "edge_1.frontend.new.neterr:1|g",
                "edge_1.frontend.new.reqs:1|g",
                "edge_1.frontend.new.rtt.500:10|g",
                "edge_1.frontend.new.rtt.750:10|g",
                "edge_1.frontend.new.rtt.950:10|g",
                "edge_1.frontend.new.rtt.990:10|g",
                "edge_1.frontend.new.rtt.999:10|g",
            ]
        );
        assert!(gauges("", running.top(None), &[])[0].starts_with("frontend.new."));
        assert_eq!(escaped("a b:c/d-é_9.x"), "a_b_c_d___9.x");
    }

    #[test]
    fn datagrams_are_full_and_not_too_long() {
        let lines: Vec<String> = (0..100).map(|n| format!("frontend.f{n:03}.reqs:1|g")).collect();
        let datagrams = datagrams(&lines);
        assert_eq!(datagrams.len(), 2);
        assert!(datagrams.iter().all(|one| one.len() <= DATAGRAM_BYTES_MAX));
        assert_eq!(datagrams.join("\n"), lines.join("\n"));
    }

    #[tokio::test]
    async fn they_come_over_udp_and_a_missing_receiver_stops_nothing() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = receiver.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let task = tokio::spawn(report(address, "p".into(), Arc::new(fake()), stop.clone()));
        let mut bytes = [0; 2_048];
        let count =
            tokio::time::timeout(Duration::from_secs(10), receiver.recv(&mut bytes)).await.unwrap().unwrap();
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        assert!(text.lines().all(|line| line.starts_with("p.") && line.ends_with("|g")), "{text}");
        // Nobody listens any more, and then again.
        let place = receiver.local_addr().unwrap();
        drop(receiver);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let receiver = UdpSocket::bind(place).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), receiver.recv(&mut bytes)).await.unwrap().unwrap();
        stop.cancel();
        task.await.unwrap();
    }
}
