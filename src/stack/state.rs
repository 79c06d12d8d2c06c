//! What a thread does, by the line that the kernel has under `syscall`.
//!
//! Not by `procfs-core`: that cannot read the line of a thread that waits outside of a system
//! call, for a page, say.

use crate::sys::{Given, system_call};

/// What the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadState {
    /// On the CPU, or ready for it.
    Running,
    /// Waiting in the kernel, with these registers.
    Waiting { sp: u64, ip: u64 },
}

/// `None` for a line of another form: the last thing a thread does is to have no stack.
pub(super) fn parse(line: &str) -> Option<ThreadState> {
    let line = line.trim_end();
    if line == "running" {
        return Some(ThreadState::Running);
    }
    // The number of the call and its six arguments, or -1 and none; then the registers.
    let mut fields = line.split(' ').rev();
    let ip = hexadecimal(fields.next()?)?;
    let sp = hexadecimal(fields.next()?)?;
    let call: i64 = fields.next_back()?.parse().ok()?;
    let arguments = fields.count();
    let fits = arguments == if call == -1 { 0 } else { 6 };
    (fits && sp != 0 && ip != 0).then_some(ThreadState::Waiting { sp, ip })
}

/// The call that the thread is in, if it is in one, and what that was given in memory.
pub(super) fn given(line: &str) -> Option<(&'static str, Given)> {
    let mut fields = line.split(' ');
    let number = fields.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = hexadecimal(fields.next()?)?;
    }
    let given = crate::sys::given(number, &arguments)?;
    Some((system_call(number, &arguments).name, given))
}

fn hexadecimal(field: &str) -> Option<u64> {
    u64::from_str_radix(field.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_was_given_is_in_memory() {
        let line = |number: i64, flags: u64| {
            format!("{number} 0x1 {flags:#x} 0x7ffd 0x7ffe 0x0 0x0 0x7ffc13c4e110 0x7f00d2e1fadf\n")
        };
        let sleep = ("clock_nanosleep", Given::Time(0x7ffd));
        assert_eq!(given(&line(libc::SYS_clock_nanosleep, 0)), Some(sleep));
        assert_eq!(given(&line(libc::SYS_clock_nanosleep, 1)), None, "until then");
        assert_eq!(given(&line(libc::SYS_nanosleep, 0)), Some(("nanosleep", Given::Time(1))));
        let connect = ("connect", Given::Peer(0x7fff));
        assert_eq!(given(&line(libc::SYS_connect, 0x7fff)), Some(connect));
        assert_eq!(given(&line(libc::SYS_futex, 0)), None);
        assert_eq!(given("running\n"), None);
        assert_eq!(given("-1 0x7ffc13c4e110 0x7f00d2e1fadf\n"), None);
    }

    #[test]
    fn the_line_of_the_kernel_is_understood() {
        let waiting = |sp, ip| Some(ThreadState::Waiting { sp, ip });
        for (line, state) in [
            ("running\n", Some(ThreadState::Running)),
            (
                "230 0x1 0x0 0x7ffd 0x0 0x0 0x0 0x7ffc13c4e110 0x7f00d2e1fadf\n",
                waiting(0x7ffc_13c4_e110, 0x7f00_d2e1_fadf),
            ),
            ("-1 0x7ffc13c4e110 0x7f00d2e1fadf\n", waiting(0x7ffc_13c4_e110, 0x7f00_d2e1_fadf)),
            // A thread of the kernel, or one that ends.
            ("0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0", None),
            ("-1 0x0 0x0", None),
            ("230 0x1 0x7ffc13c4e110 0x7f00d2e1fadf", None),
            ("-1 0x1 0x7ffc13c4e110 0x7f00d2e1fadf", None),
            ("0x7ffc13c4e110 0x7f00d2e1fadf", None),
            ("sleeping", None),
            ("", None),
        ] {
            assert_eq!(parse(line), state, "{line:?}");
        }
    }
}
