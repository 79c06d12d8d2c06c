//! `tower_stall::testing`: tests that forbid blocking pass and fail as they should.

mod armed;
mod blocks;
#[cfg(feature = "axum")]
mod calls;
mod ends;
mod futures;
mod guards;
mod many;
mod plain;
#[path = "../support/mod.rs"]
mod support;
