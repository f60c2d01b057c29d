//! The oracle: a map of every version, compared with the engine under random operations.
