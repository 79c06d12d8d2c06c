//! The rules decide; other modules read. A rule is a pure function of plain data and the time.

pub(super) mod closed;
pub(super) mod cpu_wait;
pub(super) mod freeze;
pub(super) mod health;
pub(super) mod idle;
pub(super) mod misplaced;
pub(super) mod poll;
pub(super) mod rescue;
pub(super) mod suspicion;
