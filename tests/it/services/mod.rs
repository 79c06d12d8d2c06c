//! Services of the usual kinds behave with the layer as without it: what a client can see is
//! compared, and a handler that blocks is found under its label.

mod bodies;
mod both;
mod gone;
mod rest;
mod routers;
mod servers;
mod websocket;
