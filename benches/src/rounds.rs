//! Contenders that take turns.

use std::time::Instant;

use super::Estimate;

/// Rounds beyond the first, which warms up and is thrown away.
const ROUNDS: usize = 21;

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

impl Rounds {
    /// Measures each contender once a round, in the given order and in the reverse, in turn.
    pub fn run<T: Clone>(
        unit: &'static str,
        contenders: &[(&'static str, T)],
        mut measure: impl FnMut(T) -> f64,
    ) -> Self {
        let mut values = vec![Vec::new(); contenders.len()];
        for round in 0..=ROUNDS {
            let mut order: Vec<_> = (0..contenders.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let value = measure(contenders[at].1.clone());
                if round > 0 {
                    values[at].push(value);
                }
            }
        }
        Self { names: contenders.iter().map(|(name, _)| *name).collect(), values, unit }
    }

    fn of(&self, name: &str) -> &[f64] {
        let at = self.names.iter().position(|known| *known == name);
        &self.values[at.expect("a contender of that name")]
    }

    fn pairs(&self, a: &str, b: &str) -> impl Iterator<Item = (f64, f64)> {
        self.of(a).iter().copied().zip(self.of(b).iter().copied())
    }

    /// What a contender takes by itself.
    #[must_use]
    pub fn alone(&self, name: &str) -> Estimate {
        Estimate::of(self.of(name).to_vec())
    }

    /// How much more `name` takes than `base`.
    #[must_use]
    pub fn over(&self, name: &str, base: &str) -> Estimate {
        Estimate::of(self.pairs(name, base).map(|(name, base)| name - base).collect())
    }

    /// How many times what `base` takes `name` takes.
    #[must_use]
    pub fn ratio(&self, name: &str, base: &str) -> Estimate {
        Estimate::of(self.pairs(name, base).map(|(name, base)| name / base).collect())
    }

    /// How many times as much `dear` adds to `base` as `cheap` adds. What `cheap` adds is taken
    /// for a tenth of a unit at least, which is where noise begins.
    #[must_use]
    pub fn times_cheaper(&self, cheap: &str, dear: &str, base: &str) -> Estimate {
        let bases = self.of(base).iter();
        let ratios = bases.zip(self.pairs(cheap, dear));
        let ratios = ratios.map(|(base, (cheap, dear))| (dear - base) / (cheap - base).max(0.1));
        Estimate::of(ratios.collect())
    }

    /// Prints all contenders, each with what it takes over `base`.
    pub fn print(&self, base: &str) {
        println!("{} rounds, medians with 95 % intervals, in {}", ROUNDS, self.unit);
        println!("{:24} {:>9}{:22}{:>9}", "", "takes", "", "over it");
        for name in &self.names {
            let alone = self.alone(name).to_string();
            if *name == base {
                println!("{name:24} {alone}");
            } else {
                println!("{name:24} {alone:30} {}", self.over(name, base));
            }
        }
        println!();
    }
}

impl Target {
    /// Prints whether the target is met; it is missed only where the interval excludes it.
    pub fn check(self, claim: &str, estimate: Estimate) {
        let (met, wanted) = match self {
            Self::AtMost(limit) => (estimate.low <= limit, format!("at most {limit}")),
            Self::AtLeast(limit) => (estimate.high >= limit, format!("at least {limit}")),
        };
        let verdict = if met { "PASS" } else { "MISS" };
        println!("{verdict}  {claim}: {estimate}, target {wanted}");
    }

    /// The same for what was measured once, or is a median of its own.
    pub fn check_value(self, claim: &str, value: f64) {
        self.check(claim, Estimate { low: value, median: value, high: value });
    }
}
