//! `flipgate proxy`: serve.

use super::context::{Context, Exit};
use super::flags::ProxyFlags;
use crate::app::{self, Invocation, Legacy, Running, notify};
use crate::telemetry::logs::{self, LogFormat};
use anyhow::Context as _;
use std::ffi::OsString;
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
at once, with 130. SIGUSR2 starts the program anew and hands over to it, as `flipgate upgrade` does. SIGHUP reopens logs and reads certificate files, error pages and tokens again. Exits with 3 if there is no table within \
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
        let legacy =
            Legacy::of_process(context.io.env).context("what the process before this one hands over")?;
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
        let (drain, upgrade) = (config.drain_timeout, config.upgrade_timeout);
        let mut running = app::start_from(config, legacy).await?;
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
        running.take_over().await.context("the process before this one does not hand over")?;
        notify(context.io.env, &format!("READY=1\nMAINPID={}", std::process::id()));
        let exit = match serve(&mut running, &mut signals, upgrade).await {
            Ended::Told => Exit::Done,
            Ended::Replaced(pid) => {
                notify(context.io.env, &format!("MAINPID={pid}"));
                Exit::Done
            }
            Ended::Isolated => {
                context.note("flipgate: cut off from the store for too long (--isolation-stop-after)");
                Exit::Error
            }
        };
        tracing::info!("draining");
        tokio::select! {
            () = running.shutdown(drain) => Ok(exit),
            () = signals.end() => {
                tracing::warn!("ended at once, by a second signal");
                Ok(Exit::AtOnce)
            }
        }
    }
}

/// Why a process serves no longer.
enum Ended {
    Told,
    Isolated,
    /// By this process.
    Replaced(u32),
}

/// Does what signals say, until it is to drain.
async fn serve(running: &mut Running, signals: &mut Signals, upgrade: Duration) -> Ended {
    loop {
        let told = tokio::select! {
            told = signals.next() => told,
            () = running.isolated() => return Ended::Isolated,
        };
        match told {
            Told::End => return Ended::Told,
            Told::Reload => running.reload(),
            Told::Upgrade => {
                let mut arguments = std::env::args_os();
                let program = arguments.next().unwrap_or_else(|| OsString::from("flipgate"));
                let how = Invocation { program, arguments: arguments.collect() };
                tracing::info!(program = %how.program.display(), "a new process is started to take over");
                let upgraded = tokio::select! {
                    upgraded = running.upgrade(&how, upgrade) => upgraded,
                    () = signals.end() => return Ended::Told,
                };
                match upgraded {
                    Ok(pid) => {
                        tracing::info!(pid, "the new process has taken over");
                        return Ended::Replaced(pid);
                    }
                    Err(error) => tracing::error!(%error, "no upgrade; this process goes on"),
                }
            }
        }
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
    upgrade: Signal,
}

/// What a signal means.
pub(super) enum Told {
    End,
    Reload,
    Upgrade,
}

impl Signals {
    /// Called within a runtime. From now on these signals do not end the process by themselves.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.reload.recv() => Told::Reload,
            _ = self.upgrade.recv() => Told::Upgrade,
        }
    }

    /// SIGTERM or SIGINT; others are passed over.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, Told::End) {}
    }
}
