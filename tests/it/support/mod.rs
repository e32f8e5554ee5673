//! What several integration tests share.

pub(crate) mod certificate;
pub(crate) mod contract;
pub(crate) mod postgres;
pub(crate) mod relay;
pub(crate) mod rgw;
pub(crate) mod s3;
pub(crate) mod seaweed;
