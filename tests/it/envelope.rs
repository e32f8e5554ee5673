//! Integration tests of `envelope`.
