//! `flipgate demo`: two sites, a proxy in front of them, and a line to change.

use super::context::{Context, Exit, Output};
use super::demo_site::{Colour, Site};
use super::proxy::Signals;
use crate::app;
use crate::config::{Config, Partial, Setting};
use crate::telemetry::logs::{self, LogFormat};
use anyhow::{Context as _, anyhow, bail};
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ports that are tried after a taken one, before any free one is taken.
const PORTS_TRIED: u16 = 100;
/// What open requests get at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the proxy to serve.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The certificate and its private key, which is published and protects nothing.
const CERTIFICATE: [(&str, &str); 2] = [
    ("dev-localhost.crt", include_str!("../../certs/dev-localhost.crt")),
    ("dev-localhost.key", include_str!("../../certs/dev-localhost.key")),
];

/// The routing table, in a store's layout.
const ROUTES: [(&str, &str); 8] = [
    ("listeners/http.yaml", include_str!("../../config/demo/listeners/http.yaml")),
    ("listeners/https.yaml", include_str!("../../config/demo/listeners/https.yaml")),
    ("hosts/localhost/host.yaml", include_str!("../../config/demo/hosts/localhost/host.yaml")),
    (FRONTEND, include_str!("../../config/demo/frontends/site/frontend.yaml")),
    ("backends/site-blue/backend.yaml", include_str!("../../config/demo/backends/site-blue/backend.yaml")),
    (
        "backends/site-blue/servers/a.yaml",
        include_str!("../../config/demo/backends/site-blue/servers/a.yaml"),
    ),
    ("backends/site-green/backend.yaml", include_str!("../../config/demo/backends/site-green/backend.yaml")),
    (
        "backends/site-green/servers/a.yaml",
        include_str!("../../config/demo/backends/site-green/servers/a.yaml"),
    ),
];

/// The file to edit.
const FRONTEND: &str = "frontends/site/frontend.yaml";

/// Start two sites and a proxy on this machine, and flip between them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate demo
  flipgate demo --dir ./demo        keep the files

Everything is in the program: it writes a routing table to a fresh directory, starts a blue and a green site, serves them \
on 127.0.0.1 (ports 8080 and 8443, or the next free ones), and says which line to change. Ctrl-C ends it.")]
pub(super) struct Demo {
    /// Directory for the files, new or empty; it is kept [default: one below the temporary directory, removed at the
    /// end]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let mut signals = Signals::new()?;
        logs::init(LogFormat::Text, "warn")?;
        let dir = Directory::make(self.dir.as_deref())?;
        let (blue, green) =
            (Site::start(Colour::Blue, bind(8091)?)?, Site::start(Colour::Green, bind(8092)?)?);
        let mut ports = [8080, 8443, 8182].map(|port| Ok(bind(port)?.local_addr()?));
        let [http, https, admin] = ports.each_mut().map(|port| std::mem::replace(port, Err(anyhow!(""))));
        let layout = Layout {
            dir: dir.path.clone(),
            http: http?,
            https: https?,
            admin: admin?,
            blue: blue.address(),
            green: green.address(),
        };
        layout.write()?;
        let running = app::start(layout.config()?).await?;
        tokio::select! {
            () = running.ready() => {}
            () = tokio::time::sleep(READY_TIMEOUT) => bail!("the proxy was not ready within {READY_TIMEOUT:?}"),
            () = signals.end() => return Ok(Exit::Done),
        }
        match context.output {
            Output::Text => context.say(layout.text(dir.is_temporary))?,
            Output::Json => context.json(&layout.json())?,
        }
        context.io.stdout.flush()?;
        signals.end().await;
        tokio::select! {
            () = running.shutdown(DRAIN_TIMEOUT) => {}
            () = signals.end() => {}
        }
        if context.output == Output::Text {
            let kept = if dir.is_temporary { "Its directory is removed." } else { "Its files are kept." };
            context.say(format_args!("\nThe demo has ended. {kept}"))?;
        }
        Ok(Exit::Done)
    }
}

/// A listener on `first`, the next free port after it, or any.
fn bind(first: u16) -> anyhow::Result<TcpListener> {
    let ports = (first..first.saturating_add(PORTS_TRIED)).chain([0]);
    let mut listeners = ports.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    listeners.next().context("no port of 127.0.0.1 is free")
}

/// Where the files are; removed when dropped if it is temporary.
struct Directory {
    path: PathBuf,
    is_temporary: bool,
}

impl Directory {
    fn make(given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = given {
            let shown = path.display();
            fs::create_dir_all(path).with_context(|| format!("--dir {shown} cannot be made"))?;
            if fs::read_dir(path)?.next().is_some() {
                bail!("--dir {shown} is not empty; name a directory that is, or that does not exist");
            }
            let path = path.canonicalize().with_context(|| format!("--dir {shown} cannot be read"))?;
            return Ok(Self { path, is_temporary: false });
        }
        let parent = std::env::temp_dir();
        for attempt in 0..PORTS_TRIED {
            let path = parent.join(format!("flipgate-demo-{}-{attempt}", std::process::id()));
            // For this user alone, and never one that someone else put there.
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, is_temporary: true }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let shown = path.display();
                    return Err(error)
                        .with_context(|| format!("{shown} cannot be made; name another with --dir"));
                }
            }
        }
        bail!("{} has no place for a directory; name one with --dir", parent.display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the demo's directory stays");
        }
    }
}

/// What goes where.
struct Layout {
    dir: PathBuf,
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
    blue: SocketAddr,
    green: SocketAddr,
}

impl Layout {
    fn routes(&self) -> PathBuf {
        self.dir.join("routes")
    }

    /// The file with the addresses that it got.
    fn content(&self, path: &str, text: &str) -> String {
        let (usual, got) = match path {
            "listeners/http.yaml" => ("127.0.0.1:8080", self.http),
            "listeners/https.yaml" => ("127.0.0.1:8443", self.https),
            "backends/site-blue/servers/a.yaml" => ("127.0.0.1:8091", self.blue),
            "backends/site-green/servers/a.yaml" => ("127.0.0.1:8092", self.green),
            _ => return text.replace("https://localhost:8443", &self.url("https", self.https)),
        };
        text.replace(usual, &got.to_string())
    }

    fn write(&self) -> anyhow::Result<()> {
        let routes = ROUTES.iter().map(|(path, text)| (self.routes().join(path), self.content(path, text)));
        let certificate = CERTIFICATE.iter().map(|(name, text)| (self.dir.join(name), (*text).to_owned()));
        for (path, text) in routes.chain(certificate) {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
            }
            let mut options = fs::OpenOptions::new();
            let mode = if path.extension().is_some_and(|ending| ending == "key") { 0o600 } else { 0o644 };
            let file = options.write(true).create_new(true).mode(mode).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    fn config(&self) -> anyhow::Result<Config> {
        let mut flags = Partial::default();
        for (flag, value) in [
            ("store", format!("dir:{}", self.routes().display())),
            ("secrets-dir", self.dir.display().to_string()),
            ("data-dir", self.dir.join("data").display().to_string()),
            ("admin", self.admin.to_string()),
            ("drain-delay", "0s".to_owned()),
            ("log-level", "warn".to_owned()),
        ] {
            flags.set(Setting::of(flag).with_context(|| format!("no setting {flag}"))?, value);
        }
        // What is set for a real proxy on this machine is not for the demo.
        Ok(Config::resolve(flags, |_| None, None)?)
    }

    fn url(&self, scheme: &str, address: SocketAddr) -> String {
        format!("{scheme}://localhost:{}", address.port())
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "dir": self.dir,
            "http": self.url("http", self.http) + "/",
            "https": self.url("https", self.https) + "/",
            "admin": self.url("http", self.admin),
            "certificate": self.dir.join("dev-localhost.crt"),
            "frontend": self.routes().join(FRONTEND),
        })
    }

    fn text(&self, is_temporary: bool) -> String {
        let (http, https, admin) =
            (self.url("http", self.http), self.url("https", self.https), self.url("http", self.admin));
        let (dir, file) = (self.dir.display(), self.routes().join(FRONTEND).display().to_string());
        let admin_flag = if self.admin.port() == 8182 { String::new() } else { format!(" --admin {admin}") };
        let end = if is_temporary { "and removes its directory" } else { "and keeps its files" };
        format!(
            "\
Flipgate is running, with a blue site and a green one behind it.

  {http}/       {https}/       in a browser, or:
  curl {http}/
  curl --cacert {dir}/dev-localhost.crt {https}/

Every request goes to the blue site. To flip all of them to the green one, change one line in
  {file}
from `backendId: site-blue` to `backendId: site-green` and save, or:
  sed -i 's/backendId: site-blue/backendId: site-green/' {file}

The next request is green; those under way end where they began. What is served, and what is wrong:
  flipgate status{admin_flag}
  flipgate explain GET {http}/{admin_flag}

Ctrl-C ends it {end}."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::load_documents;
    use crate::cli::document::Document;
    use crate::model::ObjectKey;
    use std::collections::BTreeMap;

    fn layout(dir: &Path) -> Layout {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (http, https, admin) = (address(18080), address(18443), address(18182));
        Layout { dir: dir.to_owned(), http, https, admin, blue: address(18091), green: address(18092) }
    }

    #[test]
    fn all_files_are_in_the_program() {
        fn below(dir: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => below(&path, root, found),
                    false => found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
                }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo");
        let (mut found, mut carried) = (Vec::new(), ROUTES.map(|(path, _)| path.to_owned()));
        below(&root, &root, &mut found);
        found.sort();
        carried.sort();
        assert_eq!(found, carried);
    }

    #[test]
    fn the_table_is_valid_and_has_the_ports_that_were_free() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        layout.write().unwrap();
        let mut documents = BTreeMap::new();
        for (path, _) in ROUTES {
            let text = fs::read_to_string(dir.path().join("routes").join(path)).unwrap();
            for usual in ["8080", "8443", "8091", "8092"] {
                assert!(!text.contains(&format!("127.0.0.1:{usual}")), "{path}: {text}");
            }
            let value = crate::cli::value::parse(path, &text).unwrap().remove(0);
            let key = ObjectKey::parse(path.strip_suffix(".yaml").unwrap()).unwrap();
            documents.insert(key, Document { origin: path.to_owned(), value });
        }
        let wrong: Vec<_> =
            load_documents(&documents).1.iter().map(|row| row.finding.reason.clone()).collect();
        assert_eq!(wrong, [""; 0]);
        assert!(
            fs::read_to_string(dir.path().join("routes").join(FRONTEND))
                .unwrap()
                .contains("\nbackendId: site-blue\n")
        );
        let config = layout.config().unwrap();
        assert_eq!(config.admin.address, Some(layout.admin));
        assert!(layout.text(true).contains("curl http://localhost:18080/\n"));
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let first = bind(0).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = bind(port).unwrap().local_addr().unwrap().port();
        assert_ne!(second, port);
    }

    #[test]
    fn a_directory_that_is_used_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Directory::make(Some(dir.path())).unwrap().is_temporary);
        fs::write(dir.path().join("x"), "").unwrap();
        assert!(Directory::make(Some(dir.path())).is_err());
        let made = Directory::make(None).unwrap();
        let path = made.path.clone();
        assert!(path.is_dir());
        drop(made);
        assert!(!path.exists());
    }
}
