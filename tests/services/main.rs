//! Services of the usual kinds behave with the layer as without it: what a client can see is
//! compared, and a handler that blocks is found under its label.
#![cfg(all(feature = "admin", feature = "axum"))]

mod bodies;
mod both;
mod gone;
mod rest;
mod routers;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod websocket;
