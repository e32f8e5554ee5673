//! Integration tests of `server`.
