//! The `flipgate` program: one file a verb.
//!
//! A verb is a value that clap parsed; it runs against a [`Context`] and answers with an [`Exit`]. Results go to
//! standard output and messages to standard error, both given from outside, so that a test runs a verb as a user does:
//! through [`run`].

mod api;
mod apply;
mod check;
mod completions;
mod confirm;
mod context;
mod delete;
mod demo;
mod demo_site;
#[cfg(feature = "kubernetes")]
mod deploy;
#[cfg(feature = "kubernetes")]
mod deployer;
mod doctor;
mod document;
mod explain;
mod export;
mod flags;
mod fleet;
mod flip;
mod get;
mod help;
mod history;
mod import;
mod plan;
mod progress;
mod proxy;
mod put;
mod references;
#[cfg(feature = "kubernetes")]
mod registrar;
mod rollback;
mod sealing;
mod secret;
mod status;
mod table;
mod target;
mod top;
mod upgrade;
mod value;
mod vulcand;
mod wait;

pub use context::{Context, Exit, Io, Output};

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const ABOUT: &str = "An edge load balancer that follows a routing table and flips traffic in one atomic step";

const LONG_ABOUT: &str = "\
Flipgate is an edge load balancer: it stands between the public internet and the pods, follows a routing table kept in \
etcd or in a directory, and moves traffic between versions in one atomic step.

`flipgate demo` shows it at work on this machine, with nothing to set up.";

const EXAMPLES: &str = "\
Examples:
  flipgate demo                                     two sites, a proxy, and a line to change
  flipgate proxy --store dir:routes                 serve the routes in a directory
  flipgate proxy --store etcd://127.0.0.1:2379      serve the routes in etcd
  flipgate get frontends                            what the store holds
  flipgate put frontend shop --set BackendId=green  change one field, keep the rest
  flipgate apply -f routes/ --dry-run --diff        show what would change
  flipgate flip frontend/shop=shop-green            move its traffic, safely
  flipgate rollback frontend/shop                   move it back
  flipgate status                                   what the proxy on this machine serves
  flipgate top                                      what its frontends and servers do right now
  flipgate explain GET https://shop.example/cart    which route takes a request, and why
  flipgate doctor --store dir:routes                what keeps traffic from flowing

Every flag can be given as a variable, FLIPGATE_STORE for --store, or in flipgate.toml.
Exit status: 0 done, 1 a negative answer, 2 an error; `proxy` exits with 3 when it got no table in time, \
`flip` and `rollback` when what is written is not yet safe; a proxy that a second signal ended at once with 130.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "flipgate",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 110
)]
struct Program {
    /// How results are printed
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
    /// File of settings, in place of /etc/flipgate/flipgate.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Proxy(proxy::Proxy),
    Upgrade(upgrade::Upgrade),
    Demo(demo::Demo),
    #[cfg(feature = "kubernetes")]
    Registrar(registrar::Registrar),
    #[cfg(feature = "kubernetes")]
    Deployer(deployer::Deployer),
    #[cfg(feature = "kubernetes")]
    Deploy(deploy::Deploy),
    #[cfg(feature = "kubernetes")]
    Deployments(deploy::Deployments),
    #[cfg(feature = "kubernetes")]
    Logs(deploy::Logs),
    #[cfg(feature = "kubernetes")]
    Redeploy(deploy::Redeploy),
    #[cfg(feature = "kubernetes")]
    Undeploy(deploy::Undeploy),
    #[cfg(feature = "kubernetes")]
    Finish(deploy::Finish),
    #[cfg(feature = "kubernetes")]
    Scale(deploy::Scale),
    #[cfg(feature = "kubernetes")]
    Maintenance(deploy::Maintenance),
    Get(get::Get),
    Put(put::Put),
    Delete(delete::Delete),
    Apply(apply::Apply),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Export(export::Export),
    Import(import::Import),
    Secret(sealing::Secret),
    Status(status::Status),
    Top(top::Top),
    Explain(explain::Explain),
    Flip(flip::Flip),
    Rollback(rollback::Rollback),
    Wait(wait::Wait),
    Fleet(fleet::Fleet),
    History(history::History),
    Confirm(confirm::Confirm),
    Completions(completions::Completions),
    Help(help::Help),
}

/// Runs the program with this process's arguments, streams and environment.
pub fn main() -> ExitCode {
    let (mut stdin, mut stdout, mut stderr) =
        (io::stdin(), anstream::AutoStream::auto(io::stdout()), anstream::AutoStream::auto(io::stderr()));
    let mut io = Io {
        stdin: &mut stdin,
        stdout: &mut stdout,
        stderr: &mut stderr,
        env: &|name| std::env::var(name).ok(),
    };
    run(std::env::args_os(), &mut io).into()
}

/// Runs the program. The first argument is its own name.
pub fn run(args: impl IntoIterator<Item = OsString>, io: &mut Io<'_>) -> Exit {
    let program = match Program::try_parse_from(args) {
        Ok(program) => program,
        Err(error) => {
            let (stream, exit): (&mut dyn Write, _) = if error.use_stderr() {
                (&mut *io.stderr, Exit::Error)
            } else {
                (&mut *io.stdout, Exit::Done)
            };
            // There is nowhere left to say that this failed.
            drop(write!(stream, "{}", error.render().ansi()).and_then(|()| stream.flush()));
            return exit;
        }
    };
    let mut context = Context { io, output: program.output, config: program.config };
    let exit = match start(program.verb, &mut context) {
        Ok(exit) => exit,
        Err(error) if is_broken_pipe(&error) => return Exit::Done,
        Err(error) => {
            context.note(format_args!("flipgate: {error:#}"));
            exit_of(&error)
        }
    };
    match context.io.stdout.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            context.note(format_args!("flipgate: standard output: {error}"));
            Exit::Error
        }
        _ => exit,
    }
}

/// What a deployer will not do as things are is an answer.
#[cfg(feature = "kubernetes")]
fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<deploy::Refused>() { Exit::No } else { Exit::Error }
}

#[cfg(not(feature = "kubernetes"))]
fn exit_of(_: &anyhow::Error) -> Exit {
    Exit::Error
}

/// Whoever read standard output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
        && error.downcast_ref::<io::Error>().is_some()
}

fn start(verb: Verb, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
    let mut runtime = match &verb {
        // The control plane of a proxy has work beside the verb itself.
        Verb::Proxy(_) | Verb::Demo(_) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).thread_name("flipgate-control");
            builder
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    let exit = runtime.block_on(async {
        match verb {
            Verb::Proxy(verb) => verb.run(context).await,
            Verb::Upgrade(verb) => verb.run(context).await,
            Verb::Demo(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Registrar(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Deployer(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Deploy(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Deployments(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Logs(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Redeploy(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Undeploy(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Finish(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Scale(verb) => verb.run(context).await,
            #[cfg(feature = "kubernetes")]
            Verb::Maintenance(verb) => verb.run(context).await,
            Verb::Get(verb) => verb.run(context).await,
            Verb::Put(verb) => verb.run(context).await,
            Verb::Delete(verb) => verb.run(context).await,
            Verb::Apply(verb) => verb.run(context).await,
            Verb::Check(verb) => verb.run(context).await,
            Verb::Doctor(verb) => verb.run(context).await,
            Verb::Export(verb) => verb.run(context).await,
            Verb::Import(verb) => verb.run(context).await,
            Verb::Secret(verb) => verb.run(context).await,
            Verb::Status(verb) => verb.run(context).await,
            Verb::Top(verb) => verb.run(context).await,
            Verb::Explain(verb) => verb.run(context).await,
            Verb::Confirm(verb) => verb.run(context).await,
            Verb::Flip(verb) => verb.run(context).await,
            Verb::Rollback(verb) => verb.run(context).await,
            Verb::Wait(verb) => verb.run(context).await,
            Verb::Fleet(verb) => verb.run(context).await,
            Verb::History(verb) => verb.run(context).await,
            Verb::Completions(verb) => verb.run(context),
            Verb::Help(verb) => verb.run(context),
        }
    });
    // A blocking task, such as a read of a slow disk, must not hold the end up.
    runtime.shutdown_background();
    exit
}

#[cfg(test)]
mod tests;
