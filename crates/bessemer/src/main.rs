//! The `bessemer` command.

mod clients;
mod compute;
mod config;
mod metrics;
mod options;
mod parts;
mod signals;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

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
}

/// Where the configuration is. Without any of these, where nova-compute looks: ~/.nova, ~, /etc/nova, /etc.
#[derive(Args)]
struct Files {
    /// A configuration file; may be repeated, later ones win.
    #[arg(long, value_name = "FILE")]
    config_file: Vec<PathBuf>,
    /// A folder whose *.conf files are read in order, after the files.
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Command::parse().what {
        What::Compute(files) => compute::run(&files),
        What::Config(files) => show(&files),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bessemer: {message}");
            ExitCode::FAILURE
        }
    }
}

fn show(files: &Files) -> Result<(), String> {
    let config = files.load()?;
    print!("{}", config::render(&config));
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    validate::validate(&config).map_err(|error| error.to_string())
}

impl Files {
    /// Reads the configuration; called again on SIGHUP.
    fn load(&self) -> Result<oslo::config::Config, String> {
        config::load(self.config_file.clone(), self.config_dir.clone()).map_err(|error| error.to_string())
    }
}
