//! What a manifest promises, and curl, which looks whether it is so.

use crate::support::TestCertificate;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A manifest with what it promises.
pub struct Promise {
    pub name: String,
    pub manifest: String,
    pub cases: Vec<Case>,
    /// Annotations that are named as not carried over.
    pub named: Vec<String>,
}

/// A request and what becomes of it.
#[derive(Debug, Default)]
pub struct Case {
    /// Method, URL, and the length of a body.
    pub request: String,
    headers: Vec<String>,
    /// The client's address.
    from: Option<String>,
    has_certificate: bool,
    status: Option<u16>,
    /// Fields of the answer: what they begin with, or that they are not there.
    answer: Vec<(String, Option<String>)>,
    /// The colour of the pod that was reached, and as what.
    reached: Option<(String, String)>,
    /// Fields that the pod saw.
    seen: Vec<(String, Option<String>)>,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// 0: nothing.
    pub status: u16,
    pub fields: Vec<(String, String)>,
    /// What a pod tells; null if none answered.
    pub told: Value,
}

impl Promise {
    /// Those of all files of a directory.
    pub fn all(directory: &Path) -> Vec<Self> {
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = files.collect();
        files.sort();
        files.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let manifest = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (mut cases, mut named) = (Vec::<Case>::new(), Vec::new());
        for line in manifest.lines().filter_map(|line| line.strip_prefix("# ")) {
            let Some((mark, text)) = line.split_once(' ') else { continue };
            let below = text.strip_prefix("  ");
            match (mark, below, cases.last_mut()) {
                (">", None, _) => cases.push(Case { request: text.to_owned(), ..Case::default() }),
                ("!", None, _) => named.push(text.to_owned()),
                (">", Some("@certificate"), Some(case)) => case.has_certificate = true,
                (">", Some(text), Some(case)) => match text.strip_prefix("@from ") {
                    Some(address) => case.from = Some(address.to_owned()),
                    None => case.headers.push(text.to_owned()),
                },
                ("<", None, Some(case)) => case.status = Some(text.parse().unwrap()),
                ("<", Some(text), Some(case)) => case.answer.push(expectation(text)),
                ("@", None, Some(case)) => {
                    let (colour, target) = text.split_once(' ').unwrap();
                    case.reached = Some((colour.to_owned(), target.to_owned()));
                }
                ("@", Some(text), Some(case)) => case.seen.push(expectation(text)),
                _ => {}
            }
        }
        let is_vain = |case: &&Case| case.status.is_none() && case.reached.is_none();
        assert!(!cases.iter().any(|case| is_vain(&case)), "{name} has a request without an outcome");
        Self { name, manifest, cases, named }
    }
}

/// `name: value`, or `-name` where it is not there.
fn expectation(text: &str) -> (String, Option<String>) {
    match text.strip_prefix('-') {
        Some(name) => (name.to_owned(), None),
        None => {
            let (name, value) = text.split_once(':').unwrap();
            (name.to_owned(), Some(value.trim().to_owned()))
        }
    }
}

impl Case {
    pub fn get(url: &str, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        Self { request: format!("GET {url}"), headers, ..Self::default() }
    }

    /// Whether an answer is what was promised; else what is not so.
    pub fn judge(&self, answer: &Answer) -> Result<(), String> {
        let status = self.status.unwrap_or(200);
        if answer.status != status {
            return Err(format!("{status} was promised: {answer:?}"));
        }
        let field = |name: &str| {
            answer.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        for (name, expected) in &self.answer {
            fits(name, expected.as_deref(), field(name).as_deref())
                .map_err(|reason| format!("{reason}: {answer:?}"))?;
        }
        if let Some((colour, target)) = &self.reached {
            let told = (answer.told["colour"].as_str(), answer.told["target"].as_str());
            if told != (Some(colour), Some(target)) {
                return Err(format!("{colour} {target} was promised: {answer:?}"));
            }
        }
        for (name, expected) in &self.seen {
            let seen = answer.told["headers"][name].as_str();
            fits(name, expected.as_deref(), seen).map_err(|reason| format!("{reason}: {answer:?}"))?;
        }
        Ok(())
    }
}

fn fits(name: &str, expected: Option<&str>, found: Option<&str>) -> Result<(), String> {
    let fits = match (expected, found) {
        (Some(expected), Some(found)) => found.starts_with(expected),
        (None, found) => found.is_none(),
        (Some(_), None) => false,
    };
    if fits { Ok(()) } else { Err(format!("{name} is {found:?}, and not {expected:?}")) }
}

/// How requests are made.
pub struct Curl {
    dir: TempDir,
    http: SocketAddr,
    https: SocketAddr,
    trusted: PathBuf,
    own: PathBuf,
}

impl Curl {
    /// Through a proxy's two listeners, trusting a certificate and able to show another.
    pub fn new(
        dir: TempDir,
        (http, https): (SocketAddr, SocketAddr),
        trusted: &TestCertificate,
        own: &TestCertificate,
    ) -> Self {
        let (trusted, own) = (trusted.write(dir.path(), "trusted"), own.write_pair(dir.path(), "own"));
        Self { dir, http, https, trusted, own }
    }

    pub fn ask(&self, case: &Case) -> Answer {
        let mut words = case.request.split(' ');
        let (method, url) = (words.next().unwrap(), words.next().unwrap());
        let address = if url.starts_with("https:") { self.https } else { self.http };
        let mut command = Command::new("curl");
        command.args(["-s", "-i", "--path-as-is", "--max-time", "20", "-X", method, "-H", "Expect:"]);
        command.args(["--connect-to", &format!("::{}:{}", address.ip(), address.port())]);
        command.arg("--cacert").arg(&self.trusted);
        for header in &case.headers {
            command.args(["-H", header]);
        }
        if let Some(from) = &case.from {
            command.args(["--interface", from]);
        }
        if case.has_certificate {
            command.arg("--cert").arg(&self.own);
        }
        if let Some(length) = words.next() {
            let body = self.dir.path().join("body");
            std::fs::write(&body, "x".repeat(length.parse().unwrap())).unwrap();
            command.arg("--data-binary").arg(format!("@{}", body.display()));
        }
        let output = command.arg(url).output().unwrap();
        Answer::read(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Answer {
    fn read(text: &str) -> Self {
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Self::default() };
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let fields = lines.filter_map(|line| line.split_once(": "));
        Self {
            status,
            fields: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            told: serde_json::from_str(body).unwrap_or_default(),
        }
    }
}
