//! A login to the store that ends, and one that is refused.

use super::scene::Scene;
use crate::support::{Keys, Relay, scaled, shared, until};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MOST: Duration = Duration::from_secs(30);

const USER: &str = "gate";

/// The flag of tokens that anybody can check and that hold for five seconds.
fn signed_tokens(dir: &Path) -> String {
    let (private, public) = (dir.join("token.key"), dir.join("token.pub"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genrsa", "-traditional", "-out", private.to_str().unwrap(), "2048"]);
    openssl(&["rsa", "-in", private.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()]);
    let (public, private) = (public.display(), private.display());
    format!("--auth-token=jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=5s")
}

#[test]
fn e08_logins_end_users_are_added_and_the_password_is_changed() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let mut keys = Keys::start_with(&["--unsafe-no-fsync", &signed_tokens(dir.path())]);
    keys.require_login(USER, "secret");
    let relay = Relay::to(keys.address());
    let url = format!("etcd://{}", relay.address());
    let login = ["--etcd-user", USER, "--etcd-password-file", password.to_str().unwrap()];
    let mut scene = Scene::with(keys, &url, |builder| builder.arguments(&login));
    let load = scene.load();

    // Longer than a token holds.
    std::thread::sleep(scaled(Duration::from_secs(6), Duration::from_secs(60)));
    scene.keys.add_user("first");
    scene.flips(2, Duration::from_millis(50));
    scene.keys.add_user("second");
    scene.flips(2, Duration::from_millis(50));

    scene.keys.set_password(USER, "other");
    // What stands, stands: only who has to log in again is refused.
    relay.cut();
    relay.mend();
    scene.wait_connected(false, MOST);
    let before = relay.accepted();
    let silence = scaled(3, 20);
    std::thread::sleep(Duration::from_secs(silence));
    let tries = relay.accepted() - before;
    println!(
        "failures E08: {tries} connections in {silence} s with a wrong password (bound {silence} and 3)"
    );
    assert!(tries <= silence + 3, "a hot loop: {tries} tries in {silence} s");
    let status = scene.flipgate.admin().status();
    assert!(status["stale"] == true && status["ready"] == true, "{status}");
    assert_eq!(scene.asked(), scene.colour());
    let output = scene.flipgate.output();
    assert!(output.contains("not permitted"), "no alarm:\n{output}");

    std::fs::write(&password, "other\n").unwrap();
    scene.wait_connected(true, MOST);
    until("it follows again", MOST, || (scene.flipgate.admin().status()["stale"] == false).then_some(()));
    scene.flips(2, Duration::from_millis(50));
    load.stop_well("E08");
}
