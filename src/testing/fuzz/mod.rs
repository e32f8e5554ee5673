//! The bodies of the fuzz targets: what a stranger can send, or do to what lies in a store, and what must hold of it.
//!
//! Each is a plain function of bytes that panics where a property does not hold; `fuzz/` hands them to libFuzzer, and a test
//! of the ordinary suite replays the committed corpus through the same functions. They depend on their input alone: no clock,
//! no randomness, no state that one input leaves to the next.

mod audit;
mod blob;
mod chunked;
mod client;
mod input;
mod manifest;
mod names;
mod range;
mod request;
mod signature;
mod world;
mod xml;

pub use audit::audit;
pub use blob::blob;
pub use chunked::chunked;
pub use manifest::manifest;
pub use names::names;
pub use range::range;
pub use request::request;
pub use signature::signature;
pub use xml::xml;

/// What a target is: bytes in, and a panic where a property does not hold.
pub type Body = fn(&[u8]);

/// Every target by the name it has in `fuzz/Cargo.toml`; a test compares the two.
pub const TARGETS: [(&str, Body); 9] = [
    ("audit", audit),
    ("blob", blob),
    ("chunked", chunked),
    ("manifest", manifest),
    ("names", names),
    ("range", range),
    ("request", request),
    ("signature", signature),
    ("xml", xml),
];
