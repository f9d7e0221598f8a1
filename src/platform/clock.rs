//! The clock for the term of a lease. It continues while the machine is suspended, and cannot be set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A clock that counts from a fixed moment, such as the boot.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The time since the boot. On Linux, `std::time::Instant` stops while the machine is suspended: after a
    /// suspend, an expired lease would seem valid.
    pub(crate) fn since_boot() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
        // On macOS, this clock continues during sleep.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
        // Without a clock, every lease counts as expired and is checked in the bucket.
        Self::new(|| clock_gettime(CLOCK).map_or(Duration::MAX, Duration::from))
    }

    pub(crate) fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_boot_increases() {
        let clock = Clock::since_boot();
        let first = clock.now();
        assert!(first > Duration::ZERO && first < Duration::MAX);
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > first);
    }
}
