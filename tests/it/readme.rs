//! What the README says is so: its sessions are run as a reader would type them, and every name in it exists.
//!
//! A block marked `console test` is a session: a line that begins with `$ ` is typed, the lines below it are what it
//! prints. The width of columns may differ, `...` stands for anything, in a line or for lines. A block marked `sh test` is
//! a script. All of them run in one shell, in an empty directory and on free ports. `console hour` is a session of its own,
//! which `vulcand/hour.rs` runs.

use crate::support::{Admin, alone, flipgate, free_port, until};
use ::flipgate::config::SETTINGS;
use ::flipgate::telemetry::Reason;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time until a command has printed what the README says.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// Commands that change nothing are typed again until they print what is expected.
const ASKING: [&str; 8] = [
    "curl -s",
    "etcdctl endpoint",
    "flipgate status",
    "flipgate explain",
    "flipgate get",
    "flipgate doctor",
    "flipgate deployments",
    "kubectl get",
];

/// The ports of the README; its own ports of etcd and the admin API are set by variables, too.
const PORTS: [&str; 6] = ["8080", "8443", "8182", "9001", "9002", "2379"];

pub fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced blocks with exactly this mark, each with the line it begins on.
pub fn blocks(text: &str, mark: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(bool, usize, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info == mark, number + 1, String::new())),
            (Some(_), Some((wanted, begin, body))) => {
                if *wanted {
                    found.push((*begin, std::mem::take(body)));
                }
                open = None;
            }
            (None, Some((_, _, body))) => body.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    found
}

/// What is typed, and what it prints.
pub fn steps(block: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => panic!("a session begins with a command, not with {line:?}"),
        }
    }
    steps
}

/// Runs of spaces become one.
fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a printed line is the one expected, in which `...` stands for anything.
fn is_line(expected: &str, printed: &str) -> bool {
    let (expected, printed) = (plain(expected), plain(printed));
    let mut parts = expected.split("...");
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let parts = parts.collect::<Vec<_>>();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether it is what was expected: a line `...` stands for any number of lines.
fn is_output(expected: &[String], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=printed.len()).any(|skipped| is_output(rest, &printed[skipped..]))
        }
        (Some((first, rest)), Some((line, lines))) => is_line(first, line) && is_output(rest, lines),
        _ => false,
    }
}

/// A shell that is typed at. Dropping it ends whatever was started in it.
pub struct Shell {
    dir: tempfile::TempDir,
    child: Child,
    ports: Vec<(&'static str, String)>,
    typed: usize,
}

impl Shell {
    fn new() -> Self {
        Self::with(&PORTS, &[])
    }

    /// With these ports of the README on free ones, and programs of the test's own beside the usual.
    pub fn with(ports: &[&'static str], programs: &[(&str, PathBuf)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = ports.iter().map(|port| (*port, free_port().to_string())).collect::<Vec<_>>();
        let port = |usual: &str| ports.iter().find(|(port, _)| *port == usual).unwrap().1.clone();
        let (client, peer) =
            (format!("http://127.0.0.1:{}", port("2379")), format!("http://127.0.0.1:{}", free_port()));
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let tools = [("flipgate", Some(flipgate::program())), ("etcd", named("FLIPGATE_ETCD"))];
        let programs = programs.iter().map(|(name, path)| (*name, Some(path.clone())));
        for (name, path) in tools.into_iter().chain([("etcdctl", named("FLIPGATE_ETCDCTL"))]).chain(programs)
        {
            if let Some(path) = path {
                std::os::unix::fs::symlink(path, bin.join(name)).unwrap();
            }
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output = File::create(dir.path().join("output")).unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        let child = Command::new("bash")
            .args(["--norc", "--noprofile"])
            .current_dir(work)
            .env_clear()
            .env("PATH", path)
            .env("FLIPGATE_ADMIN", format!("127.0.0.1:{}", port("8182")))
            .env("FLIPGATE_DRAIN_DELAY", "0s")
            .env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:{}", port("2379")))
            .env("ETCD_LISTEN_CLIENT_URLS", &client)
            .env("ETCD_ADVERTISE_CLIENT_URLS", &client)
            .env("ETCD_LISTEN_PEER_URLS", &peer)
            .env("ETCD_INITIAL_ADVERTISE_PEER_URLS", &peer)
            .env("ETCD_INITIAL_CLUSTER", format!("default={peer}"))
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut shell = Self { dir, child, ports, typed: 0 };
        // Jobs have numbers and names, as at a prompt.
        shell.run("set -m");
        shell
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    fn admin(&self) -> SocketAddr {
        self.address("8182")
    }

    /// Where a port of the README is in truth.
    pub fn address(&self, usual: &str) -> SocketAddr {
        let port = &self.ports.iter().find(|(port, _)| *port == usual).unwrap().1;
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    /// Its exit code and what it printed.
    fn run(&mut self, command: &str) -> (i32, String) {
        let mut command = command.to_owned();
        for (usual, free) in &self.ports {
            command = command.replace(&format!(":{usual}"), &format!(":{free}"));
            command = command.replace(&format!("server {usual}"), &format!("server {free}"));
            command = command.replace(&format!("ort={usual}"), &format!("ort={free}"));
        }
        let output = self.dir.path().join("output");
        let begin = fs::metadata(&output).unwrap().len() as usize;
        self.typed += 1;
        let mark = format!("@typed-{}@", self.typed);
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{command}\nprintf '{mark}%s\\n' $?").unwrap();
        until(&command, COMMAND_MAX, || {
            let printed = fs::read(&output).unwrap();
            let printed = String::from_utf8_lossy(&printed[begin..]).into_owned();
            let (before, code) = printed.split_once(&mark)?;
            Some((code.strip_suffix('\n')?.parse().unwrap(), before.to_owned()))
        })
    }

    fn with_usual_ports(&self, mut text: String) -> String {
        for (usual, free) in &self.ports {
            text = text.replace(&format!(":{free}"), &format!(":{usual}"));
        }
        text
    }

    /// Types a command until it prints what is expected.
    pub fn expect(&mut self, place: &str, command: &str, expected: &[String]) {
        let late = Instant::now() + COMMAND_MAX;
        loop {
            let (code, printed) = self.run(command);
            let printed = without_colours(&self.with_usual_ports(printed));
            // Jobs that end, and whom a flip waits for where a machine is slow.
            let is_aside = |line: &str| line.starts_with('[') || line.starts_with("waiting for ");
            let lines = printed.lines().filter(|line| !is_aside(line)).collect::<Vec<_>>();
            let fits = if expected.is_empty() { code == 0 } else { is_output(expected, &lines) };
            if fits {
                return;
            }
            let again = ASKING.iter().any(|asking| command.starts_with(asking)) && Instant::now() < late;
            assert!(
                again,
                "{place}: `{command}` ends with {code} and prints\n{printed}\nand not\n{}\n",
                expected.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Without the sequences that colour a terminal, which vctl prints to anybody.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or(part, |(_, rest)| rest))
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            let _ = writeln!(input, "for job in $(jobs -p); do kill -9 -- -$job; done 2>/dev/null; exit");
        }
        let late = Instant::now() + COMMAND_MAX;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for log in ["proxy.log", "proxy2.log"] {
                println!("--- {log}\n{}", fs::read_to_string(self.file(log)).unwrap_or_default());
            }
        }
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

#[test]
fn sessions_print_what_they_say() {
    let _machine = alone();
    let text = readme();
    let mut parts = blocks(&text, "console test");
    let scripts = blocks(&text, "sh test");
    assert!(parts.len() >= 8 && !scripts.is_empty(), "the README's sessions were not found");
    parts.extend(scripts.iter().cloned());
    parts.sort();
    let mut shell = Shell::new();
    for (line, block) in &parts {
        let place = format!("README.md, block at line {line}");
        if scripts.iter().any(|(script, _)| script == line) {
            shell.expect(&place, &format!("( set -e\n{block})"), &[]);
            continue;
        }
        for (command, expected) in steps(block) {
            shell.expect(&place, &command, &expected);
        }
    }
    paths_are_those_of_the_api(&text, shell.admin());
    fields_are_those_of_the_log(&text, &shell.file("access.log"));
}

/// Every path of the API's own description is in the README, and the other way round.
fn paths_are_those_of_the_api(text: &str, admin: SocketAddr) {
    let document = Admin::at(admin).json("/v3/openapi.json");
    let known: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let said: BTreeSet<String> = spans(text)
        .filter(|span| {
            ["/v3/", "/metrics", "/healthz", "/readyz"].iter().any(|start| span.starts_with(start))
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(said.difference(&known).collect::<Vec<_>>(), [""; 0], "paths that the API does not have");
    let objects = |path: &&String| !path.ends_with("{id}");
    let missing = known.difference(&said).filter(objects).collect::<Vec<_>>();
    assert_eq!(missing, [""; 0], "paths that the README does not name");
}

fn fields_are_those_of_the_log(text: &str, log: &Path) {
    let line = until("a line in the access log", Duration::from_secs(5), || {
        fs::read_to_string(log).ok()?.lines().next().map(str::to_owned)
    });
    let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    let said = &blocks(text, "text fields")[0].1;
    assert_eq!(record.keys().collect::<Vec<_>>(), said.split_whitespace().collect::<Vec<_>>());
}

/// Texts between back quotes.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The first cells of the rows of the table below a head.
fn first_cells<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1)).map(str::trim).collect()
}

#[test]
fn every_setting_is_told_with_its_default() {
    let rows = SETTINGS.iter().map(|setting| {
        let value = setting.value.replace('|', "\\|");
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let many = if setting.many { " (repeatable)" } else { "" };
        format!("| `--{} {value}` | {default} | {}{many} |", setting.flag, setting.help)
    });
    let rows = rows.collect::<Vec<_>>().join("\n");
    assert!(readme().contains(&format!("| --- | --- | --- |\n{rows}\n\n")), "the table has to be:\n{rows}");
}

#[cfg(feature = "kubernetes")]
#[test]
fn every_annotation_is_told() {
    use ::flipgate::registrar::convert::annotations::{ANNOTATIONS, Form, Part};
    let rows = ANNOTATIONS.iter().map(|annotation| {
        let of = match annotation.part {
            Part::Place => "pods and Services".to_owned(),
            Part::Service => "Services".to_owned(),
            Part::Frontend => format!("frontend `{}`", annotation.field),
            Part::Backend => format!("backend `{}`", annotation.field),
        };
        let form = match annotation.form {
            Form::Text => String::new(),
            Form::Flag => "`true` or `false`".to_owned(),
            Form::Number => "a number".to_owned(),
            Form::List => "texts with commas".to_owned(),
            Form::Json => "JSON".to_owned(),
            Form::TextOrJson => "a text, or JSON".to_owned(),
            Form::FlagOrJson => "`true`, `false`, or JSON".to_owned(),
            Form::NumberOf(field) => format!("a number for `{field}`, or JSON"),
            Form::SwitchOf(field) => format!("`true`, `false`, a text for `{field}`, or JSON"),
        };
        let told = [form.as_str(), annotation.help].into_iter().filter(|text| !text.is_empty());
        let told = told.collect::<Vec<_>>().join("; ");
        format!("| `{}` | {of} | {told} |", annotation.name)
    });
    let rows = rows.collect::<Vec<_>>().join("\n");
    assert!(readme().contains(&format!("| --- | --- | --- |\n{rows}\n\n")), "the table has to be:\n{rows}");
}

#[test]
fn every_reason_is_told_and_no_other() {
    let text = readme();
    let said = first_cells(&text, "| reason |");
    assert_eq!(said, Reason::ALL.map(|reason| format!("`{reason}`")));
}

#[test]
fn every_metric_is_told_and_no_other() {
    let sources = [
        include_str!("../../src/telemetry/metrics.rs"),
        include_str!("../../src/registrar/metrics.rs"),
        include_str!("../../src/deployer/api/metrics.rs"),
    ];
    let source = sources.map(|source| source.split("#[cfg(test)]").next().unwrap()).concat();
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words = words.filter(|word| word.starts_with("flipgate_"));
        words.map(|word| word.trim_end_matches("_total").to_owned()).collect()
    };
    assert_eq!(names(&readme()), names(&source));
}

#[test]
fn every_verb_and_flag_exists() {
    let text = readme();
    let help = |arguments: &[&str]| {
        let (code, out, error) = flipgate::verb(arguments, Path::new("/"));
        assert_eq!(code, 0, "{arguments:?}: {error}");
        out
    };
    let verbs = first_cells(&text, "| verb |");
    let verbs = verbs.iter().flat_map(|cell| spans(cell)).collect::<Vec<_>>();
    let listed = help(&["help"]);
    let commands = listed.lines().skip_while(|line| *line != "Commands:").skip(1);
    let known =
        commands.take_while(|line| line.starts_with("  ")).filter_map(|l| l.split_whitespace().next());
    let known = known.filter(|verb| *verb != "help").collect::<BTreeSet<_>>();
    assert_eq!(verbs.iter().copied().collect::<BTreeSet<_>>(), known);

    let nested = |verb: &str| {
        let all = help(&["help", verb]);
        let commands = all.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names =
            commands.take_while(|line| line.starts_with("  ")).filter_map(|l| l.split_whitespace().next());
        names.map(|name| help(&["help", verb, name])).collect::<String>() + &all
    };
    let all = verbs.iter().map(|verb| nested(verb)).collect::<String>();
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
    };
    let flags: BTreeSet<String> = words(&all).into_iter().collect();
    let ours = spans(&text).filter(|span| span.starts_with("--") || span.starts_with("flipgate "));
    let session =
        text.lines().filter(|line| line.starts_with("$ flipgate ") || line.starts_with("ExecStart="));
    for flag in ours.chain(session).flat_map(words) {
        assert!(flags.contains(&flag) || flag == "--version", "{flag} is no flag of ours");
    }
}

#[test]
fn links_lead_somewhere() {
    let text = readme();
    let heads = text.lines().filter(|line| line.starts_with('#'));
    let anchors = heads.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    });
    let anchors = anchors.collect::<BTreeSet<_>>();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if let Some(anchor) = link.strip_prefix('#') {
            assert!(anchors.contains(anchor), "{link} is no heading");
            continue;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(link);
        assert!(link.starts_with("https://") || path.exists(), "{link}");
    }
}

#[test]
fn outputs_are_compared_as_a_reader_would() {
    let check = |expected: &str, printed: &str, fits: bool| {
        let expected = expected.lines().map(str::to_owned).collect::<Vec<_>>();
        let printed = printed.lines().collect::<Vec<_>>();
        assert_eq!(is_output(&expected, &printed), fits, "{expected:?} {printed:?}");
    };
    check("OK", "OK", true);
    check("OK", "", false);
    check("written at revision 8", "written at  revision 8", true);
    check("written at revision 8", "written at revision 9", false);
    check("since ...", "since 2026-01-01T00:00:00Z", true);
    check("a ... c", "a b c", true);
    check("a ... c", "a b d", false);
    check("...\nend", "1\n2\nend", true);
    check("...\nend", "1\nend\n2", false);
    check("first\n...", "first", true);
}
