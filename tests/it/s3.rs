//! Integration tests of `s3`.
