//! Integration tests of `catalogue`.
