//! A median and how sure it is.

use std::fmt;

/// The median of paired measurements and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Lower end of the interval.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Of independent measurements of one thing. Assumes nothing of how they are distributed:
    /// the interval is that of the order statistics (from the r-th smallest to the r-th largest,
    /// where the binomial distribution leaves at most 2.5 % beyond either).
    ///
    /// # Panics
    ///
    /// With fewer than six, which have no such interval.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(values.len() >= 6, "{} measurements have no 95 % interval", values.len());
        values.sort_by(f64::total_cmp);
        let rank = rank(values.len());
        let (last, middle) = (values.len() - 1, values.len() / 2);
        let median = f64::midpoint(values[middle], values[last - middle]);
        Self { low: values[rank], median, high: values[last - rank] }
    }

    /// How far the interval goes from a value, in either direction.
    #[must_use]
    pub fn farthest_from(self, value: f64) -> f64 {
        (self.low - value).abs().max((self.high - value).abs())
    }
}

/// How many of `n` measurements lie outside the interval at either end.
fn rank(n: usize) -> usize {
    // The probability that exactly k of n lie below the median: n over k, by 2 to the n. Its logarithm, since
    // beyond a thousand it is too small for a number.
    let mut exactly = n as f64 * 0.5_f64.ln();
    let (mut rank, mut beyond) = (0, exactly.exp());
    loop {
        exactly += ((n - rank) as f64 / (rank + 1) as f64).ln();
        beyond += exactly.exp();
        if beyond > 0.025 {
            return rank;
        }
        rank += 1;
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, median, high } = self;
        write!(f, "{median:9.3}  [{low:.3}, {high:.3}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_has_the_ranks_of_the_tables() {
        // n and the smaller rank, counted from 1, of the 95 % interval of a median.
        for (n, first) in [(6, 1), (9, 2), (15, 4), (20, 6), (30, 10), (50, 18)] {
            assert_eq!(rank(n) + 1, first, "{n}");
        }
        // More than a table has: by sums of whole numbers.
        for (n, first) in [(1000, 469), (2002, 957)] {
            assert_eq!(rank(n) + 1, first, "{n}");
        }
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        let estimate = Estimate::of((1..=15).map(f64::from).collect());
        assert_eq!(estimate, Estimate { low: 4.0, median: 8.0, high: 12.0 });
        assert_eq!(Estimate::of((1..=6).map(f64::from).collect()).median, 3.5);
    }
}
