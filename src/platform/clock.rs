//! The clock that measures a lease's term: it continues while the machine is suspended, and cannot be set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A clock that counts from some moment in the past, such as the boot.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The time since the machine's boot. `std::time::Instant` stands still on Linux while the machine is suspended:
    /// a laptop that wakes up after an hour would take an old lease for a fresh one.
    pub(crate) fn since_boot() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
        // On macOS this clock counts the time asleep.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
        // Without a clock no lease is ever taken for current, and every use asks the bucket.
        Self::new(|| clock_gettime(CLOCK).map_or(Duration::MAX, Duration::from))
    }

    /// A clock that shows what `now` returns.
    pub(crate) fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time that it shows.
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
    fn the_time_since_boot_goes_on() {
        let clock = Clock::since_boot();
        let first = clock.now();
        assert!(first > Duration::ZERO && first < Duration::MAX);
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > first);
    }
}
