//! The `terroir` command.

fn main() {}
