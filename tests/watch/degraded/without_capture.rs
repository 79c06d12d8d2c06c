//! Built without the feature `capture`: the same settings, and all but stacks.

use tower_stall::{Capture, Cause};

use super::found::{Watched, lock, receive, sleep, spin};

#[test]
fn stalls_have_their_cause_and_no_stack() {
    // Each setting is taken, and means none.
    for mode in [Capture::Auto, Capture::NoSignal, Capture::Off] {
        let watched = Watched::new(|builder| builder.capture(mode));
        let faults: [(_, fn(&_), _); 4] = [
            ("sleep", sleep, Cause::Sleep),
            ("lock", lock, Cause::Lock),
            ("receive", receive, Cause::NetworkIo),
            ("spin", spin, Cause::Cpu),
        ];
        for (handler, fault, cause) in faults {
            let stall = watched.stall(handler, fault);
            assert_eq!(stall.cause, cause, "{stall:#?}");
            assert!(stall.stack.is_none() && stall.site.is_none(), "{stall:#?}");
        }
        assert_eq!(watched.captures("failed"), None, "no series");
        let off = [("capture", "off")];
        assert_eq!(watched.rig.metric("tower_stall_build_info", &off), Some(1.0));
    }
}
