//! The example as a process: what its clients and the scraper see, in a stall and outside of one.

mod cancel;
mod generated;
mod health;
mod kinds;
mod labels;
#[path = "../../../../tests/support/needs.rs"]
mod needs;
mod python;
mod support;
mod transparent;
