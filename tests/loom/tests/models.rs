//! Runs the models of the protocols: `cargo test -p tower-stall-loom`.

macro_rules! models {
    ($($model:ident)*) => {
        $(
            #[test]
            fn $model() {
                tower_stall_loom::$model();
            }
        )*
    };
}

models! {
    a_reading_belongs_to_one_poll
    nested_marks_stay_inside_their_poll
    a_question_is_answered
    a_wish_for_a_wake_up_comes_true_once
    an_end_time_is_that_of_its_poll
    an_end_time_wanted_in_time_is_told
    an_allowed_block_is_never_blamed
    owners_do_not_mix
    the_first_poll_wakes_the_watchdog
    one_of_many_wakes_the_watchdog
    a_tick_that_is_asked_for_comes
    a_tick_has_the_interval_of_who_asked
    a_tick_is_not_taken_for_a_missing_one
    each_lag_is_read_once
    a_wanted_scan_sees_what_came_before
}
