//! The shipped catalogue, built into the binary so that it runs away from its checkout. A test holds it equal to `regions/`.

/// Every TOML file of `regions/` and `regions/register/`: path and text.
pub(super) const FILES: &[(&str, &str)] = &[
    ("fr.toml", include_str!("../../regions/fr.toml")),
    ("us.toml", include_str!("../../regions/us.toml")),
    ("register/health.toml", include_str!("../../regions/register/health.toml")),
    ("register/health-sensitive.toml", include_str!("../../regions/register/health-sensitive.toml")),
    ("register/operational.toml", include_str!("../../regions/register/operational.toml")),
    ("register/personal.toml", include_str!("../../regions/register/personal.toml")),
];
