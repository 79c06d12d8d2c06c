//! The texts of settings, as variables have them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::health::Readiness;
use crate::stack::{Capture, Symbols};

/// What to write instead of a text that cannot be read.
pub(super) type Expected = &'static str;

pub(super) fn duration(text: &str) -> Result<Duration, Expected> {
    humantime::parse_duration(text).map_err(|_| "a duration with its unit, such as 100ms or 60s")
}

pub(super) fn number(text: &str) -> Result<usize, Expected> {
    text.parse().map_err(|_| "a whole number, such as 256")
}

pub(super) fn switch(text: &str) -> Result<bool, Expected> {
    match text {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err("true or false, or on or off"),
    }
}

pub(super) fn list(text: &str) -> Result<Vec<String>, Expected> {
    Ok(text.split(',').map(|name| name.trim().to_owned()).collect())
}

pub(super) fn address(text: &str) -> Result<Option<SocketAddr>, Expected> {
    if text == "off" {
        return Ok(None);
    }
    let expected = "an address with a port, such as 127.0.0.1:9099 or [::]:9099, or off";
    text.parse().map(Some).map_err(|_| expected)
}

pub(super) fn capture(text: &str) -> Result<Capture, Expected> {
    text.parse().map_err(|_| "auto, no-signal or off")
}

pub(super) fn symbols(text: &str) -> Result<Symbols, Expected> {
    text.parse().map_err(|_| "auto, lines, functions or addresses")
}

pub(super) fn readiness(text: &str) -> Result<Readiness, Expected> {
    let found = Readiness::ALL.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, kind)| kind).ok_or("freezes or start-and-drain")
}
