//! Integration tests of `keys`.
