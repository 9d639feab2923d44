//! The `bessemer` command.

mod admin;
mod clients;
mod compute;
mod config;
mod options;
mod parts;
mod signals;
mod validate;
mod warnings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use oslo::config::Named;

/// The compute service for bare metal on OpenStack Ironic.
#[derive(Parser)]
#[command(version, about)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Serve a stock Nova in the place of nova-compute, with its configuration files.
    Compute(Files),
    /// Print the configuration in effect: every option, its value (secrets masked) and where it came from; fails when `compute` would
    /// not start with it.
    Config(Files),
    /// Print what the running service is at work on: each operation, its server and node, and what it waits for.
    Operations {
        #[command(flatten)]
        files: Files,
        /// Only the operations of this server (its uuid).
        #[arg(long, value_name = "UUID")]
        instance: Option<String>,
        /// JSON in place of a table.
        #[arg(long)]
        json: bool,
    },
}

/// Where the configuration is. Without any of these, where nova-compute looks: ~/.nova, ~, /etc/nova, /etc.
#[derive(Args)]
struct Files {
    /// A configuration file; may be repeated. What is named later wins, file or folder.
    #[arg(long, value_name = "FILE")]
    config_file: Vec<PathBuf>,
    /// A folder whose *.conf files are read in order; may be repeated.
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
    /// Both, in their order on the command line.
    #[arg(skip)]
    named: Vec<Named>,
}

fn main() -> ExitCode {
    let done = match parsed(&Command::command().get_matches()).what {
        What::Compute(files) => compute::run(&files),
        What::Config(files) => show(&files),
        What::Operations { files, instance, json } => {
            admin::listed(&files, instance.as_deref(), json).map(|text| print!("{text}"))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bessemer: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The command with its files and folders in their order.
fn parsed(matches: &ArgMatches) -> Command {
    let mut command = Command::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let (What::Compute(files) | What::Config(files) | What::Operations { files, .. }) = &mut command.what;
    if let Some((_, matches)) = matches.subcommand() {
        files.put_in_order(matches);
    }
    command
}

fn show(files: &Files) -> Result<(), String> {
    let config = files.load()?;
    print!("{}", config::render(&config));
    for warning in warnings::warnings(&config) {
        eprintln!("warning: {warning}");
    }
    validate::validate(&config).map_err(|error| error.to_string())
}

impl Files {
    fn put_in_order(&mut self, matches: &ArgMatches) {
        let at = |name| matches.indices_of(name).into_iter().flatten();
        let mut named: Vec<(usize, Named)> =
            at("config_file").zip(self.config_file.iter().cloned().map(Named::File)).collect();
        named.extend(at("config_dir").zip(self.config_dir.iter().cloned().map(Named::Directory)));
        named.sort_by_key(|(at, _)| *at);
        self.named = named.into_iter().map(|(_, named)| named).collect();
    }

    /// Reads the configuration; called again on SIGHUP.
    fn load(&self) -> Result<oslo::config::Config, String> {
        config::load(&self.named).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_read_in_their_order_on_the_command_line() {
        let arguments = "bessemer compute --config-file a --config-dir=d --config-file b --config-dir e";
        let command = parsed(&Command::command().get_matches_from(arguments.split(' ')));
        let What::Compute(files) = command.what else { panic!() };
        let said: Vec<String> = files.named.iter().map(|named| format!("{named:?}")).collect();
        assert_eq!(said, ["File(\"a\")", "Directory(\"d\")", "File(\"b\")", "Directory(\"e\")"]);
    }
}
