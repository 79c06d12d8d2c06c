//! What a project and its CI see of tests that forbid blocking: `#[tower_stall::test]`, annotations, SARIF.
