//! How often stacks are taken.

use crate::clock::Nanos;

/// Stacks of one handler are taken no more often.
const INTERVAL: Nanos = 1_000_000_000;
/// Handlers that are remembered. Each is forgotten after the interval; while there are more, those
/// that came last wait.
const MOST_HANDLERS: usize = 256;

/// Why none is taken.
const TOO_SOON: &str = "limited: one was taken of this handler within the last second";
const TOO_MANY: &str = "limited: many were taken of other handlers within the last second";

/// One stack a second and handler, of a bounded number of handlers.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// The handlers of the last interval, and when a stack was taken of them.
    taken: Vec<(&'static str, Nanos)>,
}

impl Limits {
    /// Whether a stack of that handler may be taken now; counts as taken then.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn admit(&mut self, handler: &'static str, now: Nanos) -> Result<(), &'static str> {
        self.taken.retain(|(_, at)| now.saturating_sub(*at) < INTERVAL);
        if self.taken.iter().any(|(known, _)| *known == handler) {
            return Err(TOO_SOON);
        }
        if self.taken.len() >= MOST_HANDLERS {
            return Err(TOO_MANY);
        }
        self.taken.push((handler, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stack_a_second_of_each_handler() {
        let mut limits = Limits::default();
        assert_eq!([limits.admit("a", 0), limits.admit("b", 1)], [Ok(()); 2]);
        assert_eq!(limits.admit("a", INTERVAL - 1), Err(TOO_SOON));
        assert_eq!(limits.admit("a", INTERVAL), Ok(()), "what was refused does not count");
        assert_eq!(limits.admit("b", INTERVAL), Err(TOO_SOON));
        assert_eq!(limits.admit("b", INTERVAL + 1), Ok(()));
    }

    #[test]
    fn the_memory_of_handlers_is_bounded() {
        let mut limits = Limits::default();
        let names = (0..2 * MOST_HANDLERS).map(|n| &*Box::leak(n.to_string().into_boxed_str()));
        let admitted = names.filter(|name| limits.admit(name, 7).is_ok()).count();
        assert_eq!((admitted, limits.taken.len()), (MOST_HANDLERS, MOST_HANDLERS));
        assert_eq!(limits.admit("later", 7), Err(TOO_MANY));
        assert_eq!(limits.admit("later", 7 + INTERVAL), Ok(()));
        assert_eq!(limits.taken.len(), 1);
    }
}
