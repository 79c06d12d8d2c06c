//! The table of results.

use std::fmt::Write;

use crate::build::Build;
use crate::case::Case;
use crate::judge::Verdict;
use crate::run::Outcome;

/// What became of all runs.
#[derive(Debug, Default)]
pub struct Results {
    outcomes: Vec<Outcome>,
}

impl Results {
    /// Adds a run.
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// How many runs of a build have that verdict.
    #[must_use]
    pub fn count(&self, build: Build, fits: impl Fn(Verdict) -> bool) -> usize {
        let of_build = self.outcomes.iter().filter(|outcome| outcome.build == build);
        let verdicts = of_build.filter_map(|outcome| outcome.judgement.as_ref());
        verdicts.filter(|judgement| fits(judgement.verdict)).count()
    }

    /// The sums of each build, and a mark for each case in each build, in Markdown.
    #[must_use]
    pub fn table(&self, cases: &[Case], builds: &[Build]) -> String {
        let mut text = String::new();
        let write = |text: &mut String, line: String| writeln!(text, "{line}").expect("memory");
        write(
            &mut text,
            "| build | settings | runs | right | wrong | incomplete | once more |".into(),
        );
        write(&mut text, "|---|---|---|---|---|---|---|".into());
        for build in builds {
            let count = |fits: fn(Verdict) -> bool| self.count(*build, fits);
            let (runs, right) = (count(|_| true), count(|verdict| verdict == Verdict::Right));
            let wrong = count(Verdict::is_wrong);
            #[allow(clippy::cast_precision_loss, reason = "some thousand runs")]
            let percent = 100.0 * right as f64 / runs.max(1) as f64;
            let line = format!(
                "| *{}* | {} | {runs} | {right} ({percent:.1} %) | {wrong} | {} | {} |",
                build.name(),
                build.settings(),
                runs - right - wrong,
                self.reruns(*build),
            );
            write(&mut text, line);
        }
        text.push('\n');
        for verdict in Verdict::ALL {
            write(&mut text, format!("- {} {}", verdict.mark(), verdict.meaning()));
        }
        text.push('\n');
        let names: Vec<_> = builds.iter().map(|build| build.name()).collect();
        write(&mut text, format!("| case | stalls | {} | after |", names.join(" | ")));
        write(&mut text, format!("|---|---|{}---|", "---|".repeat(builds.len())));
        for case in cases {
            let marks: Vec<_> = builds.iter().map(|build| self.marks(case, *build)).collect();
            let stalls = case.told.len();
            let line =
                format!("| `{}` | {stalls} | {} | {} |", case.name, marks.join(" | "), case.source);
            write(&mut text, line);
        }
        text
    }

    fn reruns(&self, build: Build) -> u32 {
        let of_build = self.outcomes.iter().filter(|outcome| outcome.build == build);
        of_build.map(|outcome| outcome.reruns).sum()
    }

    /// One mark where all runs have the same verdict; else each mark with its count.
    fn marks(&self, case: &Case, build: Build) -> String {
        let of_case = self.outcomes.iter();
        let of_case = of_case.filter(|outcome| outcome.build == build && outcome.case == case.name);
        let verdicts: Vec<_> =
            of_case.filter_map(|outcome| Some(outcome.judgement.as_ref()?.verdict)).collect();
        let counts = Verdict::ALL.map(|verdict| {
            (verdict.mark(), verdicts.iter().filter(|other| **other == verdict).count())
        });
        let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        match &counts[..] {
            [] => "skipped".to_owned(),
            [(mark, _)] => (*mark).to_owned(),
            several => {
                let several: Vec<_> =
                    several.iter().map(|(mark, count)| format!("{count} {mark}")).collect();
                several.join(", ")
            }
        }
    }
}
