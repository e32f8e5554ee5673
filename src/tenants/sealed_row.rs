//! How a tenant or a credential stands in a directory row: encoded, sealed, bound to its place.
