//! `terroir check`.

use crate::app::read_canaries;
use crate::catalogue::{self, Overlay};
use crate::model::{Clock, SystemClock};
use crate::settings::Settings;

use super::args::CheckArgs;
use super::site::source;
use super::{Failure, output};

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let mut regions = args.regions.clone();
    let mut overlay = None;
    if let Some(config) = &args.config {
        let settings = Settings::load(config).map_err(|error| Failure::wrong_config(&error))?;
        regions = regions.or_else(|| settings.regions_dir.clone());
        if let Some(path) = &settings.overlay {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::io("cannot read the overlay", &error))?;
            overlay = Some(
                Overlay::parse(&path.display().to_string(), &text)
                    .map_err(|error| Failure::wrong_config(&error))?,
            );
        }
        for folder in settings.regions.iter().filter_map(|region| region.foreign_canaries.as_ref()) {
            let found = read_canaries(folder).map_err(|error| Failure::wrong_config(&error))?;
            output::line(&format!("{}: {} canaries, not tried here", folder.display(), found.len()));
        }
        output::line(&format!("{}: the settings are sound", config.display()));
    }
    let report = catalogue::check(&source(regions.as_ref()), overlay.as_ref(), SystemClock.now())
        .map_err(|error| Failure::wrong_config(&error))?;
    output::line(&report.to_string());
    if report.is_sound() {
        Ok(())
    } else {
        Err(Failure::config("the catalogue is not sound; see the findings above"))
    }
}
