//! `flipgate proxy`: serve.

use super::context::{Context, Exit};
use super::flags::ProxyFlags;
use crate::app;
use crate::telemetry::logs::{self, LogFormat};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serve the routes of a store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate proxy --store dir:routes
  flipgate proxy --store etcd://10.0.0.1:2379,10.0.0.2:2379 --prefix vulcand
  flipgate proxy --store dir:routes --listener http=127.0.0.1:8080 --listener https=off
  flipgate proxy --config flipgate.toml

SIGTERM and SIGINT drain: readiness goes, then listeners close, then open requests get their time; a second signal ends \
at once. SIGHUP reopens logs and reads certificate files, error pages and tokens again. Exits with 3 if there is no table within \
--require-table.")]
pub(super) struct Proxy {
    #[command(flatten)]
    flags: ProxyFlags,
}

impl Proxy {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        if self.flags.0.has("seal-key") {
            context
                .note("warning: others on this machine can read --seal-key; --seal-key-file keeps it to you");
        }
        let config = context.settings(self.flags.0, |_| true)?;
        if config.store.url.is_none() {
            context.note(
                "flipgate: no store is named, so there is nothing to serve. Name one of\n  \
                 --store dir:PATH                   a directory of YAML files\n  \
                 --store etcd://HOST:PORT,...       etcd\n\
                 or run `flipgate demo`, which brings everything with it.",
            );
            return Ok(Exit::Error);
        }
        let format = if config.log.json { LogFormat::Json } else { LogFormat::Text };
        logs::init(format, &config.log.level)?;
        let mut signals = Signals::new()?;
        let require_table = config.require_table;
        let drain = config.drain_timeout;
        let running = app::start(config).await?;
        if let Some(admin) = running.admin() {
            context.note(format_args!("admin listening on http://{admin}"));
        }
        if let Some(health) = running.health() {
            context.note(format_args!("health listening on http://{health}"));
        }
        let has_table = tokio::select! {
            () = running.ready() => true,
            () = elapsed(require_table) => false,
            // Nothing is served yet, so nothing drains.
            () = signals.end() => return Ok(Exit::Done),
        };
        if !has_table {
            let waited = require_table.unwrap_or_default();
            context.note(format_args!("flipgate: there was no table within {waited:?} (--require-table)"));
            return Ok(Exit::NoTable);
        }
        let mut exit = Exit::Done;
        loop {
            let told = tokio::select! {
                told = signals.next() => told,
                () = running.isolated() => {
                    context.note("flipgate: cut off from the store for too long (--isolation-stop-after)");
                    exit = Exit::Error;
                    break;
                }
            };
            match told {
                Told::End => break,
                Told::Reload => running.reload(),
            }
        }
        tracing::info!("draining");
        tokio::select! {
            () = running.shutdown(drain) => {}
            () = signals.end() => tracing::warn!("ended at once, by a second signal"),
        }
        Ok(exit)
    }
}

async fn elapsed(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What the outside tells a process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

/// What a signal means.
pub(super) enum Told {
    End,
    Reload,
}

impl Signals {
    /// Called within a runtime. From now on these signals do not end the process by themselves.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.reload.recv() => Told::Reload,
        }
    }

    /// SIGTERM or SIGINT; SIGHUP is passed over.
    pub(super) async fn end(&mut self) {
        while let Told::Reload = self.next().await {}
    }
}
