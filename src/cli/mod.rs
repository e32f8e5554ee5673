//! The command line: one file per verb. Output goes to standard output, logs and errors to standard error.

mod args;
mod audit;
mod bucket;
mod check;
mod credential;
mod dev;
mod failure;
mod inspect;
mod logs;
mod output;
mod process;
mod scrub;
mod serve;
mod site;
mod tenant;
mod whereabouts;

pub use args::{Arguments, Command};
pub use failure::{Failure, exit};
pub use logs::log_format;
pub use process::harden;

/// Runs one command to its end.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Dev(args) => Box::pin(dev::run(args)).await,
        Command::Serve(args) => Box::pin(serve::run(args)).await,
        Command::Check(args) => check::run(&args),
        Command::Tenant(command) => tenant::run(command).await,
        Command::Credential(command) => credential::run(command).await,
        Command::Bucket(command) => Box::pin(bucket::run(command)).await,
        Command::Audit(command) => audit::run(command).await,
        Command::Where(args) => Box::pin(whereabouts::run(args)).await,
        Command::Scrub(args) => Box::pin(scrub::run(args)).await,
        Command::Inspect(args) => inspect::run(args).await,
    }
}
