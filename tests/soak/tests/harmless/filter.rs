//! The same where the kernel does not send the signal: under a filter that allows no timers.

use crate::support::*;

/// A filter for the calling thread and those it starts. It lets all other calls through.
fn install() {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let number = 0;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut program = [
        libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: number },
        libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: libc::SYS_timer_create as u32 },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: refuse },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads a filter of so many instructions.
    let done = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    assert_eq!(done, 0);
}

#[test]
fn hardly_any_call_returns_something_else() {
    child::run("filter::hardly_any_call_returns_something_else", &[], || {
        install();
        let (runs, others) = crate::table::run(50, 5);
        // What was sent to a thread that began to wait just then is documented, not asserted.
        println!("{} of {runs} calls returned something else: {others:#?}", others.len());
    });
}

#[test]
fn a_call_hardly_ever_meets_a_signal_on_its_way() {
    child::run("filter::a_call_hardly_ever_meets_a_signal_on_its_way", &[], || {
        install();
        // Nothing can keep the few microseconds between the last look and the signal from being
        // those in which the call begins.
        let all = crate::busy::not_restarted_interrupted(crate::busy::RUNS / 4);
        assert!(all <= 20, "{all}");
    });
}
