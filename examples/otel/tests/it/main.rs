//! The example as a process, with an OTLP receiver made of OpenTelemetry's own definitions.

mod down;
mod kit;
mod sent;
