//! Profiles of a time, not since the start.

use std::fmt;
use std::sync::Arc;

use super::stall_profile::StallProfile;
use crate::runtime::registry::Registry;

/// Gives profiles of what has come since the last one: for code that pushes them.
///
/// Made by [`StallDetector::profile_window`](crate::StallDetector::profile_window). While it is there,
/// stalls are summed up for it too, as boundedly as those since the start.
///
/// A stall counts in the window in which it was found, and its time in those in which it passed.
#[must_use = "it has what comes while it is there"]
pub struct ProfileWindow {
    registry: Arc<Registry>,
    number: u64,
}

impl ProfileWindow {
    pub(crate) fn open(registry: &Arc<Registry>) -> Self {
        Self { number: registry.store.open_window(), registry: Arc::clone(registry) }
    }

    /// What has come since the window was opened or this was last called.
    ///
    /// ```no_run
    /// # fn push(profile: Vec<u8>) {}
    /// # fn thread(stall: &tower_stall::StallDetector) {
    /// let mut window = stall.profile_window();
    /// loop {
    ///     std::thread::sleep(std::time::Duration::from_secs(15));
    ///     push(window.take().pprof());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn take(&mut self) -> StallProfile {
        // It is open until the drop.
        let sums = self.registry.store.read_window(self.number).unwrap_or_default();
        StallProfile::new(&self.registry, sums)
    }
}

impl fmt::Debug for ProfileWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileWindow").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for ProfileWindow {
    fn drop(&mut self) {
        self.registry.store.close_window(self.number);
    }
}
