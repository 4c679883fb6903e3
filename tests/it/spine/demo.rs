//! Line 1: the first command shows a site, and one edited file another one.

use crate::support::flipgate::command;
use crate::support::{Process, shared, until};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The lines that the demo says to type, as `sh` would run them.
fn told<'a>(output: &'a str, program: &str) -> Vec<&'a str> {
    output.lines().map(str::trim).filter(|line| line.starts_with(program)).collect()
}

fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {} {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn line_1_the_demo_is_blue_and_after_its_edit_green() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let mut demo = Process::start(command().arg("demo").env("TMPDIR", dir.path()), &output);
    demo.printed("Ctrl-C ends it", Duration::from_secs(30));
    let text = demo.output();
    let curls = told(&text, "curl ");
    assert!(curls.iter().any(|line| line.contains(" http://")), "{text}");
    assert!(curls.iter().any(|line| line.contains(" https://")), "{text}");

    let all_see = |wanted: &str| {
        for line in &curls {
            for version in ["--http1.1", "--http2"] {
                if line.contains(" http://") && version == "--http2" {
                    continue;
                }
                let format = "--silent --show-error --write-out ' over HTTP/%{http_version} '";
                let page = run(&line.replacen("curl", &format!("curl {version} {format}"), 1)).to_lowercase();
                let other = if wanted == "blue" { "green" } else { "blue" };
                assert!(page.contains(wanted) && !page.contains(other), "{line}: {page}");
                let spoken = if version == "--http2" { "over http/2 " } else { "over http/1.1 " };
                assert!(page.contains(spoken), "{line} {version}: {page}");
            }
        }
    };
    all_see("blue");
    let edits = told(&text, "sed ");
    assert_eq!(edits.len(), 1, "{text}");
    run(edits[0]);
    let first = curls.iter().find(|line| line.contains(" http://")).unwrap();
    until("the demo is green", Duration::from_secs(5), || {
        run(&first.replacen("curl", "curl --silent", 1)).to_lowercase().contains("green").then_some(())
    });
    all_see("green");

    demo.signal(nix::sys::signal::Signal::SIGINT);
    assert!(demo.end(Duration::from_secs(10)).success());
    let left = |path: &Path| {
        std::fs::read_dir(path).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    };
    assert_eq!(left(dir.path()), 0, "its directory is removed");
    println!(
        "spine 1: the demo is blue over HTTP and HTTPS with HTTP/1.1 and HTTP/2, and green after its edit ok"
    );
}
