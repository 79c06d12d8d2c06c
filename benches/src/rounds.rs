//! Contenders that take turns.

use std::time::Instant;

use super::Estimate;

/// Rounds beyond the first, which warms up and is thrown away.
const ROUNDS: usize = 21;

/// So many rounds at most, where it is set: `scripts/bench-all`.
const ROUNDS_AT_MOST: &str = "STALL_BENCH_ROUNDS";

/// Chunks of one measurement, of which the fastest counts: other processes only ever add time,
/// and a chunk is short enough to run through without one in between.
const CHUNKS: u32 = 25;

/// Runs `operation` that many times and returns nanoseconds for each.
#[inline]
pub fn per_operation(count: u32, mut operation: impl FnMut()) -> f64 {
    let each = count.div_ceil(CHUNKS);
    let mut fastest = f64::INFINITY;
    for _ in 0..CHUNKS {
        let start = Instant::now();
        for _ in 0..each {
            operation();
        }
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(each));
    }
    fastest
}

/// What was measured: for each contender one value a round.
#[derive(Debug)]
pub struct Rounds {
    names: Vec<&'static str>,
    values: Vec<Vec<f64>>,
    /// The first contender once more. What these differ by is noise, and no claim is finer.
    again: Vec<f64>,
    unit: &'static str,
}

/// An upper or lower limit that an estimate should keep.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At most this much.
    AtMost(f64),
    /// At least this much.
    AtLeast(f64),
}

/// What an estimate says of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Miss,
    /// The target lies within the interval, or nearer to it than two measurements of the same differ.
    CannotTell,
}

impl Rounds {
    /// Measures all contenders in turn, round after round, in one order and then the other, and the
    /// first one twice.
    pub fn run<T: Clone>(
        unit: &'static str,
        contenders: &[(&'static str, T)],
        measure: impl FnMut(T) -> f64,
    ) -> Self {
        Self::run_beside(ROUNDS, unit, contenders, contenders[0].1.clone(), measure)
    }

    /// The same, with so many rounds and a twin of the first contender instead of itself.
    pub fn run_beside<T: Clone>(
        rounds: usize,
        unit: &'static str,
        contenders: &[(&'static str, T)],
        twin: T,
        mut measure: impl FnMut(T) -> f64,
    ) -> Self {
        let most = std::env::var(ROUNDS_AT_MOST).ok();
        let rounds = most.map_or(rounds, |most| rounds.min(most.parse().expect("a number")));
        let mut values = vec![Vec::new(); contenders.len() + 1];
        for round in 0..=rounds {
            let mut order: Vec<_> = (0..values.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let contender = contenders.get(at).map_or(&twin, |(_, contender)| contender);
                let value = measure(contender.clone());
                if round > 0 {
                    values[at].push(value);
                }
            }
        }
        let again = values.pop().unwrap_or_default();
        Self { names: contenders.iter().map(|(name, _)| *name).collect(), values, again, unit }
    }

    fn of(&self, name: &str) -> &[f64] {
        let at = self.names.iter().position(|known| *known == name);
        &self.values[at.expect("a contender of that name")]
    }

    /// What a contender takes by itself.
    #[must_use]
    pub fn alone(&self, name: &str) -> Estimate {
        Estimate::of(self.of(name).to_vec())
    }

    /// How much more `name` takes than `base`.
    #[must_use]
    pub fn over(&self, name: &str, base: &str) -> Estimate {
        pairs(self.of(name), self.of(base), |name, base| name - base)
    }

    /// How many times what `base` takes `name` takes.
    #[must_use]
    pub fn ratio(&self, name: &str, base: &str) -> Estimate {
        pairs(self.of(name), self.of(base), |name, base| name / base)
    }

    /// How far the first contender differs from itself.
    fn spread(&self) -> f64 {
        pairs(&self.again, &self.values[0], |again, first| again - first).farthest_from(0.0)
    }

    /// The same as a ratio.
    #[must_use]
    pub fn spread_of_ratio(&self) -> f64 {
        pairs(&self.again, &self.values[0], |again, first| again / first).farthest_from(1.0)
    }

    /// Prints all contenders, each with what it takes over `base`, and the first one again.
    pub fn print(&self, base: &str) {
        let rounds = self.again.len();
        println!("{rounds} rounds, medians with 95 % intervals, in {}", self.unit);
        println!("{:24} {:>9}{:22}{:>9}", "", "takes", "", "over it");
        for name in &self.names {
            let alone = self.alone(name).to_string();
            if *name == base {
                println!("{name:24} {alone}");
            } else {
                println!("{name:24} {alone:30} {}", self.over(name, base));
            }
        }
        let alone = Estimate::of(self.again.clone()).to_string();
        let over = pairs(&self.again, &self.values[0], |again, first| again - first);
        println!("{:24} {alone:30} {over}", format!("A/A: {}", self.names[0]));
        println!();
    }

    /// Prints whether `name` keeps a target.
    pub fn check_alone(&self, target: Target, claim: &str, name: &str) {
        target.check(claim, self.alone(name), self.spread());
    }

    /// Prints whether what `name` takes over `base` keeps a target.
    pub fn check_over(&self, target: Target, claim: &str, name: &str, base: &str) {
        target.check(claim, self.over(name, base), self.spread());
    }

    /// Prints whether the ratio of `name` to `base` keeps a target.
    pub fn check_ratio(&self, target: Target, claim: &str, name: &str, base: &str) {
        target.check(claim, self.ratio(name, base), self.spread_of_ratio());
    }

    /// Prints whether `dear` adds at least so many times as much to `base` as `cheap` adds. What
    /// `cheap` adds is taken for the spread at least, which is where noise begins.
    pub fn check_times_cheaper(&self, times: f64, claim: &str, [cheap, dear, base]: [&str; 3]) {
        let spread = self.spread().max(f64::EPSILON);
        let bases = self.of(base).iter().zip(self.of(cheap)).zip(self.of(dear));
        let ratio = |((base, cheap), dear): ((&f64, &f64), &f64)| {
            (dear - base) / (cheap - base).max(spread)
        };
        Target::AtLeast(times).check(claim, Estimate::of(bases.map(ratio).collect()), 0.0);
    }
}

fn pairs(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> Estimate {
    Estimate::of(a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect())
}

impl Target {
    /// Prints whether the target is met, by an estimate that can be off by `spread` at either end.
    fn check(self, claim: &str, estimate: Estimate, spread: f64) {
        let verdict = match self.judge(estimate, spread) {
            Verdict::Pass => "PASS",
            Verdict::Miss => "MISS",
            Verdict::CannotTell => "CANNOT TELL",
        };
        let wanted = match self {
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::AtLeast(limit) => format!("at least {limit}"),
        };
        println!("{verdict}  {claim}: {estimate}, A/A ± {spread:.3}, target {wanted}");
    }

    /// Prints whether a value keeps the target that was measured once, or is a median of its own.
    pub fn check_value(self, claim: &str, value: f64) {
        self.check(claim, Estimate { low: value, median: value, high: value }, 0.0);
    }

    fn judge(self, estimate: Estimate, spread: f64) -> Verdict {
        let (low, high) = (estimate.low - spread, estimate.high + spread);
        let (met, missed) = match self {
            Self::AtMost(limit) => (high <= limit, low > limit),
            Self::AtLeast(limit) => (low >= limit, high < limit),
        };
        match (met, missed) {
            (true, _) => Verdict::Pass,
            (_, true) => Verdict::Miss,
            _ => Verdict::CannotTell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_never_finer_than_two_measurements_of_the_same() {
        let estimate = Estimate { low: 1.01, median: 1.02, high: 1.03 };
        let at_most = |limit, spread| Target::AtMost(limit).judge(estimate, spread);
        assert_eq!(at_most(1.04, 0.0), Verdict::Pass);
        assert_eq!(at_most(1.02, 0.0), Verdict::CannotTell);
        assert_eq!(at_most(1.0, 0.0), Verdict::Miss);
        assert_eq!(at_most(1.04, 0.02), Verdict::CannotTell);
        assert_eq!(at_most(1.0, 0.02), Verdict::CannotTell);
        let at_least = |limit, spread| Target::AtLeast(limit).judge(estimate, spread);
        assert_eq!(at_least(1.0, 0.0), Verdict::Pass);
        assert_eq!(at_least(1.0, 0.02), Verdict::CannotTell);
        assert_eq!(at_least(1.1, 0.02), Verdict::Miss);
    }

    #[test]
    fn the_first_contender_is_measured_twice_a_round() {
        let mut turns = [0; 2];
        let rounds = Rounds::run("turns", &[("a", 0), ("b", 1)], |at| {
            turns[at] += 1;
            f64::from(turns[at])
        });
        assert_eq!(turns[0], 2 * turns[1]);
        assert_eq!(rounds.spread(), 1.0);
    }
}
