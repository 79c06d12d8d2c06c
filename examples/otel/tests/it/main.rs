//! The example as a process, with an OTLP receiver made of OpenTelemetry's own definitions.

mod down;
#[path = "../../../../tests/support/needs.rs"]
mod needs;
mod sent;
mod support;
#[path = "../../../../tests/support/waiting.rs"]
mod waiting;
