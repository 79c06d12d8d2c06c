//! How long a worker was ready to run but had no CPU, per scan, from the scheduler's statistics of
//! its thread.

use crate::clock::Nanos;
use crate::procfs::thread::RunQueueSample;

/// The last sample, and the thread it was taken of.
#[derive(Debug, Default)]
pub(crate) struct CpuWait {
    last: Option<(u32, RunQueueSample)>,
}

impl CpuWait {
    /// How much of the `time` since the last update the thread waited for a CPU. 0 unless `now` and
    /// the last sample are of the same thread.
    pub(crate) fn update(&mut self, now: Option<(u32, RunQueueSample)>, time: Nanos) -> Nanos {
        let samples = std::mem::replace(&mut self.last, now).zip(now);
        let samples = samples.filter(|((before, _), (now, _))| before == now);
        samples.map_or(0, |((_, before), (_, now))| waited(before, now, time))
    }
}

/// The scheduler adds a wait to `delay` once it is over. Until then, the thread is ready and its CPU
/// time does not grow.
fn waited(before: RunQueueSample, now: RunQueueSample, time: Nanos) -> Nanos {
    let over = now.delay.saturating_sub(before.delay);
    let ran = now.cpu.saturating_sub(before.cpu);
    let open = if before.ready && now.ready { time.saturating_sub(ran) } else { 0 };
    over.max(open).min(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: RunQueueSample = RunQueueSample { cpu: 5000, delay: 700, ready: true };

    #[test]
    fn a_wait_counts_while_it_lasts_and_once() {
        let mut cpu_wait = CpuWait::default();
        let mut update = |sample| cpu_wait.update(Some((7, sample)), 25);
        assert_eq!(update(SAMPLE), 0, "the first update");
        assert_eq!(update(SAMPLE), 25, "no CPU");
        assert_eq!(update(RunQueueSample { cpu: 5020, ..SAMPLE }), 5, "for a while");
        assert_eq!(
            update(RunQueueSample { cpu: 5045, delay: 755, ..SAMPLE }),
            25,
            "the sum arrives later"
        );
        assert_eq!(update(RunQueueSample { cpu: 5070, delay: 755, ..SAMPLE }), 0, "computes");
    }

    #[test]
    fn a_thread_that_waits_for_something_else_does_not_wait_for_a_cpu() {
        let asleep = RunQueueSample { ready: false, ..SAMPLE };
        for [before, now] in [[asleep, asleep], [SAMPLE, asleep], [asleep, SAMPLE]] {
            assert_eq!(waited(before, now, 25), 0, "{before:?} {now:?}");
        }
        assert_eq!(
            waited(asleep, RunQueueSample { delay: 710, ..asleep }, 25),
            10,
            "it woke in between"
        );
    }

    #[test]
    fn samples_of_another_thread_or_long_ago_show_nothing() {
        let mut cpu_wait = CpuWait::default();
        assert_eq!(cpu_wait.update(Some((7, SAMPLE)), 25), 0);
        assert_eq!(cpu_wait.update(Some((8, SAMPLE)), 25), 0, "another thread");
        assert_eq!(cpu_wait.update(None, 25), 0, "it was not sampled");
        assert_eq!(cpu_wait.update(Some((8, SAMPLE)), 25), 0);
        assert_eq!(cpu_wait.update(Some((8, SAMPLE)), 25), 25);
    }
}
