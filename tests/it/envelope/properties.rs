//! Properties over random inputs.
