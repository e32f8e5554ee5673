//! Integration tests of `envelope`: vectors (written, opened, refused), properties, and what a forger with keys can do.

mod fixture;
mod forge;
mod properties;
mod refusals;
mod vector_cases;
mod vectors;
