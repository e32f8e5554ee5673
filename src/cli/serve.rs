//! `terroir serve`: one region (or several, in tests) until SIGTERM or Ctrl-C. SIGHUP reads certificates and credentials again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Parts, Running};
use crate::telemetry::event;

use super::Failure;
use super::args::ServeArgs;
use super::process::fit_to_descriptors;
use super::site::Installation;

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let Installation { settings, catalogue } = Installation::configured(&args.config)?;
    let mut settings = settings.serving(&args.region).map_err(|error| Failure::wrong_config(&error))?;
    fit_to_descriptors(&mut settings);
    for line in settings.to_string().lines() {
        event::setting(line);
    }
    if let Some(notice) = catalogue.overlay_notice() {
        event::overlay_in_force(&notice);
    }
    let mut stop = StopSignals::listen()?;
    // From here on: without a listener for it, this signal would end the process.
    let mut hang_up = signal(SignalKind::hangup()).map_err(|error| no_signals(&error))?;
    let running = Box::pin(app::build(&settings, catalogue, Parts::default())).await?;
    loop {
        tokio::select! {
            () = stop.received() => break,
            _ = hang_up.recv() => {
                event::reload_asked();
                running.reload();
            }
        }
    }
    drain(running).await;
    Ok(())
}

/// SIGTERM and SIGINT, listened to from the start: a stop that comes early is a stop like any other.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?,
            interrupt: signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?,
        })
    }

    /// Waits for either.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn no_signals(error: &std::io::Error) -> Failure {
    Failure::io("cannot listen for signals", error)
}

/// Lets requests end, and says how it went.
pub(super) async fn drain(running: Running) {
    let drained = running.drain().await;
    event::process_drained(drained.finished, drained.aborted);
}
