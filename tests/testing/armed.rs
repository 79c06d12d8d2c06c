//! `assert_armed`: the check of the checks.

use tower_stall::testing::{NoStalls, assert_armed};

use crate::blocks::{THRESHOLD, assert_says, failure, on_each_kind, paused, run};
use crate::support::{child, runtime};

#[test]
fn it_passes_and_others_do_not_mind() {
    on_each_kind(|runtime| {
        let armed = run(runtime, async {
            let _guard = NoStalls::new(THRESHOLD);
            assert_armed(THRESHOLD).await;
        });
        assert_eq!(armed, Ok(()));
    });
}

#[test]
fn a_paused_clock_is_no_obstacle() {
    assert_eq!(run(&paused(), assert_armed(THRESHOLD)), Ok(()));
}

#[test]
fn it_passes_whatever_threshold_the_environment_has() {
    let variables = [("TOWER_STALL_THRESHOLD", "60s")];
    child::run("armed::it_passes_whatever_threshold_the_environment_has", &variables, || {
        assert_eq!(run(&runtime(2), assert_armed(THRESHOLD)), Ok(()));
    });
}

#[test]
fn switched_off_it_fails() {
    child::run("armed::switched_off_it_fails", &[("TOWER_STALL", "off")], || {
        let text = failure(&runtime(2), assert_armed(THRESHOLD));
        let says = ["a block of 150 ms was not found", "TOWER_STALL is off"];
        assert_says(&text, "assert_armed at tests/testing/armed.rs:", &says);
    });
}
