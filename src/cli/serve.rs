//! `terroir serve`: one region (or several, in tests) until SIGTERM or Ctrl-C.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Parts, Running};

use super::Failure;
use super::args::ServeArgs;
use super::site::Installation;

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let Installation { settings, catalogue } = Installation::configured(&args.config)?;
    let settings = settings.serving(&args.region).map_err(|error| Failure::wrong_config(&error))?;
    for line in settings.to_string().lines() {
        tracing::info!(setting = line, "effective");
    }
    if let Some(notice) = catalogue.overlay_notice() {
        tracing::warn!(notice, "an overlay is in force");
    }
    let mut stop = StopSignals::listen()?;
    let running = app::build(&settings, catalogue, Parts::default()).await?;
    stop.received().await;
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
        let failed = |error: std::io::Error| Failure::io("cannot listen for signals", &error);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
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

/// Lets requests end, and says how it went.
pub(super) async fn drain(running: Running) {
    let drained = running.drain().await;
    tracing::info!(finished = drained.finished, aborted = drained.aborted, "drained");
}
