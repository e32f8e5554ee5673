//! Integration tests of `blobs`.
