//! Tests of tower-stall together with other crates, which are too heavy for its own.
