//! The `terroir` command.

use std::process::ExitCode;

use clap::Parser;
use terroir::cli::{Arguments, run};
use terroir::telemetry::{FILTER_VARIABLE, LogFormat, init_logging};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = std::env::var(FILTER_VARIABLE).ok();
    if let Err(error) = init_logging(LogFormat::Text, filter.as_deref()) {
        eprintln!("terroir: {error}: see {FILTER_VARIABLE}");
        return ExitCode::from(78);
    }
    no_core_dumps();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("terroir: no runtime: {error}");
            return ExitCode::from(71);
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("terroir: {failure}");
            failure.exit_code()
        }
    }
}

/// A core dump would put keys and clear records on a disk: the kernel is told not to write one.
fn no_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
}
