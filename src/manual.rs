//! `man` and `completions`: what the argument parser knows, for man(1) and for shells.

use std::io::Cursor;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Writes manual pages, one for each subcommand
#[derive(Debug, Args)]
pub struct Pages {
    /// The directory to write to, such as /usr/local/share/man/man1; it must be there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the completions for a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Writes the pages.
///
/// # Errors
/// Those of writing.
pub fn pages(arguments: &Pages) -> Result<()> {
    let Pages { directory } = arguments;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| directory.display().to_string())
}

/// Prints the completions.
///
/// # Errors
/// Those of writing.
pub fn completions(arguments: &Completions) -> Result<()> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut text = Cursor::new(Vec::new());
    clap_complete::generate(arguments.shell, &mut command, name, &mut text);
    output::print(&text.into_inner())
}
