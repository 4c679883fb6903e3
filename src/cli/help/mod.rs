//! `flipgate help`: the help of a verb, and what is told at length: the middlewares.

mod middleware;

use super::Program;
use super::context::{Context, Exit};
use anyhow::bail;
use clap::{Command, CommandFactory};

/// Show the help of a verb, or of a middleware
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate help get                    a verb's flags and examples
  flipgate help middleware             every type of middleware, one line each
  flipgate help middleware redirect    its parameters, behaviour and examples")]
pub(super) struct Help {
    /// A verb, or `middleware` and a type
    #[arg(value_name = "VERB|middleware [TYPE]")]
    topic: Vec<String>,
}

impl Help {
    pub(super) fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        if let Some((first, names)) = self.topic.split_first()
            && (first == "middleware" || first == "middlewares")
        {
            return middleware::run(names, context);
        }
        let mut program = Program::command();
        // Names and flags of the whole program come into its verbs.
        program.build();
        let mut command = program;
        for name in &self.topic {
            let Some(inner) = command.find_subcommand(name).cloned() else {
                let known = command.get_subcommands().map(Command::get_name).collect::<Vec<_>>();
                bail!("there is no help for `{name}`; there is for {}", known.join(", "));
            };
            command = inner;
        }
        let text = command.render_long_help();
        write!(context.io.stdout, "{}", text.ansi())?;
        Ok(Exit::Done)
    }
}
