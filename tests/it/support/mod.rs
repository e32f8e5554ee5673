//! What several integration tests share.

pub(crate) mod certificate;
pub(crate) mod seaweed;
