//! `terroir serve`: one region (or several, in tests) until SIGTERM or Ctrl-C.

use tokio::signal::unix::{SignalKind, signal};

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
    let running = app::build(&settings, catalogue, Parts::default()).await?;
    until_stopped(running).await
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) async fn until_stopped(running: Running) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io("cannot listen for signals", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let drained = running.drain().await;
    tracing::info!(finished = drained.finished, aborted = drained.aborted, "drained");
    Ok(())
}
