//! Line 8: gRPC by other people's client and server, end to end.

use crate::support::fleet::HOST;
use crate::support::keys::frontend;
use crate::support::{Fleet, TestCertificate, alone, python};
use serde_json::json;
use std::time::Duration;

/// What the client tries; it says `ok NAME` for each.
const TRIED: [&str; 8] =
    ["unary", "large", "server_stream", "client_stream", "bidi", "status", "deadline", "cancel"];

#[test]
fn line_8_grpc_goes_through() {
    let _alone = alone();
    let server = python::Grpc::server();
    let mut fleet = Fleet::of(1).start();
    let certificate = TestCertificate::of(&[HOST]);
    let dir = tempfile::tempdir().unwrap();
    let ca = certificate.write(dir.path(), "ca.pem");
    fleet.keys.put("hosts/shop.example/host", &certificate.host(true));
    fleet.keys.put("listeners/https", &crate::support::directory::listener("https"));
    fleet.keys.put("backends/grpc/backend", &json!({"Type": "http", "Settings": {"Protocol": "http2"}}));
    fleet.keys.put("backends/grpc/servers/a", &json!({"URL": format!("http://{}", server.address())}));
    let revision =
        fleet.keys.put("frontends/grpc/frontend", &frontend("PathRegexp(`/test.Echo/.*`)", "grpc"));
    fleet.served(revision);

    let plain = fleet.members[0].address;
    let encrypted = fleet.members[0].flipgate.address("https");
    let ways = [("h2c", plain, None), ("TLS", encrypted, Some(ca.as_path()))];
    for (times, (what, address, ca)) in (1..).zip(ways) {
        let said = python::Grpc::client(address, HOST, ca, Duration::from_secs(60));
        for name in TRIED {
            assert!(
                said.lines().any(|line| line == format!("ok {name}")),
                "{what}: {name} is not well:\n{said}"
            );
        }
        // What the client gave up, the server need not go on with.
        server.says("given up", times, Duration::from_secs(10));
        server.says("cancelled", times, Duration::from_secs(10));
        println!("flip 8: gRPC over {what}: {} ok", TRIED.join(", "));
    }
}

#[test]
fn line_8_the_client_and_server_are_well_by_themselves() {
    let _alone = alone();
    let server = python::Grpc::server();
    let said = python::Grpc::client(server.address(), HOST, None, Duration::from_secs(60));
    for name in TRIED {
        assert!(said.lines().any(|line| line == format!("ok {name}")), "{name} is not well:\n{said}");
    }
}
