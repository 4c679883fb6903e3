//! `flipgate completions`: what a shell needs to complete the command line.

use super::Program;
use super::context::{Context, Exit};
use clap::CommandFactory;
use clap_complete::{Shell, generate};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate completions bash > /etc/bash_completion.d/flipgate
  flipgate completions zsh > \"${fpath[1]}/_flipgate\"
  flipgate completions fish > ~/.config/fish/completions/flipgate.fish")]
pub(super) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        // The generator panics where it cannot write; a buffer can always be written to.
        let mut script = Vec::new();
        generate(self.shell, &mut Program::command(), "flipgate", &mut script);
        context.io.stdout.write_all(&script)?;
        Ok(Exit::Done)
    }
}
