//! Tests that take long or keep all CPUs busy: see `tests/`.
