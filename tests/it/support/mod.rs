//! What several integration tests share.

pub(crate) mod certificate;
pub(crate) mod rgw;
pub(crate) mod s3;
pub(crate) mod seaweed;
