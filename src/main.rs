//! The `terroir` command.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use terroir::cli::{Arguments, exit, harden, log_format, run};
use terroir::telemetry::{FILTER_VARIABLE, init_logging};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => {
            // Help and version are no errors, and go to standard output.
            let _ = said.print();
            return ExitCode::from(if said.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    let filter = std::env::var(FILTER_VARIABLE).ok();
    if let Err(error) = init_logging(log_format(&arguments.command), filter.as_deref()) {
        eprintln!("terroir: {error}: see {FILTER_VARIABLE}");
        return ExitCode::from(exit::CONFIG);
    }
    harden();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("terroir: no runtime: {error}");
            return ExitCode::from(exit::OS);
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(arguments))));
    // A call that hangs in a file system must not keep a process that was told to end; what had to be durable was, before.
    runtime.shutdown_background();
    match ended {
        Ok(Ok(())) => ExitCode::from(exit::DONE),
        Ok(Err(failure)) => {
            eprintln!("terroir: {failure}");
            failure.exit_code()
        }
        Err(_) => {
            eprintln!("terroir: a defect of ours; the log says where");
            ExitCode::from(exit::SOFTWARE)
        }
    }
}
