//! The page of stalls, for people (`/stalls`), for programs (`/stalls.json`) and as a flame graph.
//!
//! [`report`] gathers plain data at one moment. The other files show it. The admin server decides who
//! may see it.

mod chain;
#[cfg(feature = "flamegraph")]
mod flame;
mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod holders;
mod html;
mod json;
mod markdown;
mod parts;
mod report;
mod source;
mod stack;
mod tables;
mod time;
mod timeline;
mod verdict;

use std::sync::Arc;
use std::time::SystemTime;

use crate::clock;
use crate::runtime::registry::Registry;
pub(crate) use html::POLICY;
pub(crate) use parts::Parts;
use report::Report;
use source::SourceLines;

/// Shows the stalls of one detector.
pub(crate) struct Page {
    registry: Arc<Registry>,
    since: SystemTime,
    /// `false` for a detector that is switched off.
    on: bool,
}

impl Page {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let on = registry.is_watching();
        Self { registry, since: clock::wall(clock::now()), on }
    }

    fn report(&self) -> Report {
        Report::gather(&self.registry, self.since, self.on)
    }

    pub(crate) fn html(&self) -> Parts {
        let report = self.report();
        let lines = SourceLines::read(report.shown_sites());
        html::page(report, lines)
    }

    pub(crate) fn json(&self) -> Parts {
        let report = self.report();
        let lines = SourceLines::read(report.shown_sites());
        json::document(report, lines)
    }

    /// The page of one stall, while it is among the last ones.
    pub(crate) fn stall(&self, id: u64) -> Option<Parts> {
        let report = self.report();
        let stall = report.stalls().find(|stall| stall.id == id)?;
        let lines = SourceLines::read(report::sites_of(stall));
        Some(parts::whole(html::stall(&report, stall, &lines)))
    }

    /// The same as Markdown.
    pub(crate) fn markdown(&self, id: u64) -> Option<Parts> {
        let report = self.report();
        let stall = report.stalls().find(|stall| stall.id == id)?;
        Some(parts::whole(markdown::stall(&report, stall)))
    }

    /// The stalled time of the last stalls, by stack; `None` where it cannot be drawn, as without
    /// the feature.
    pub(crate) fn flame_graph(&self) -> Option<Parts> {
        #[cfg(feature = "flamegraph")]
        return flame::graph(&self.report()).map(parts::whole);
        #[cfg(not(feature = "flamegraph"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::labels::ENVIRONMENT;
    use crate::runtime::registry::LIMITS;
    use crate::runtime::registry::Limits;
    use crate::stall::tests::stall;
    use crate::stall::{Cause, Frame, Site, Stack, Stall};
    use crate::stall::{LiveStall, StackResult};

    /// A page of a runtime with two workers, and of these stalls, each of 300 ms.
    fn page(stalls: Vec<Stall>) -> (tokio::runtime::Runtime, Page) {
        let registry = Registry::new(LIMITS);
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        let tokio = tokio.expect("a runtime");
        registry.add_runtime("main", tokio.handle()).expect("watching");
        let frame = |function: &str, own| {
            Arc::new(Frame { function: Some(function.into()), own, ..Frame::default() })
        };
        let frames = vec![frame("nanosleep", false), frame("app::load", true)];
        let mut entries: Vec<_> = stalls
            .into_iter()
            .map(|stall| {
                let lasts = stall.in_progress;
                let entry =
                    LiveStall::new(Stall { started_at: clock::wall(clock::now()), ..stall });
                let site = Site { function: "app::load".into(), file: None, line: None };
                let stack = Arc::new(Stack { frames: frames.clone(), ..Stack::default() });
                let (site, stack) = (Some(site), Some(stack));
                entry.set_stack_result(StackResult { site, stack, ..StackResult::default() });
                entry.last(300_000_000);
                if !lasts {
                    entry.end(300_000_000, 0);
                }
                Arc::new(entry)
            })
            .collect();
        registry.store.take_over(&mut entries);
        (tokio, Page::new(registry))
    }

    fn text(parts: Parts) -> String {
        String::from_utf8(parts.flatten().collect()).expect("text")
    }

    fn ended(id: u64) -> Stall {
        Stall { in_progress: false, ..stall(id) }
    }

    #[test]
    fn what_the_environment_did_stands_beside_what_handlers_did() {
        let starved = Stall { cause: Cause::Starved, handler: ENVIRONMENT.into(), ..ended(1) };
        let (_tokio, page) = page(vec![starved, ended(2), ended(3)]);
        let html = text(page.html());
        assert!(html.contains("2 stalls held workers for 600 ms in all"), "{html}");
        let beside = "For <strong>300 ms</strong> threads could not run, for reasons outside the program; handlers blocked for <strong>600 ms</strong>.";
        assert!(html.contains(beside), "{html}");
        let document: serde_json::Value = serde_json::from_str(&text(page.json())).expect("JSON");
        assert_eq!(document["totals"]["environment_stalls"], 1);
        assert_eq!(document["environment"][0]["cause"], "starved");
        assert_eq!(document["sites"][0]["share_percent"], 100.0);
        assert_eq!(document["recent"].as_array().expect("a list").len(), 3);
    }

    #[test]
    fn the_picture_has_a_lane_for_each_worker_and_one_for_roots() {
        let starved = Stall { cause: Cause::Starved, handler: ENVIRONMENT.into(), ..ended(1) };
        let lasts = Stall { in_progress: true, worker: Some(1), ..stall(2) };
        let count = |html: &str, what: &str| html.matches(what).count();
        let (_tokio, workers) = page(vec![starved, lasts.clone()]);
        let html = text(workers.html());
        let marks = ["class=\"lane\"", "rect class=\"outside\"", "rect class=\"own\""];
        assert_eq!(marks.map(|mark| count(&html, mark)), [2, 1, 1]);
        let (_tokio, roots) = page(vec![Stall { worker: None, ..lasts }]);
        let html = text(roots.html());
        assert_eq!(marks.map(|mark| count(&html, mark)), [3, 0, 1]);
        assert!(html.contains("main root"), "{html}");
    }

    #[test]
    fn a_stall_has_a_page_while_it_is_kept() {
        let (_tokio, page) = page(vec![ended(1), Stall { in_progress: true, ..stall(2) }]);
        for id in [1, 2] {
            let html = text(page.stall(id).expect("it is kept"));
            assert!(html.contains("<code>nanosleep</code>"), "{html}");
        }
        assert!(page.stall(3).is_none());
    }

    #[test]
    fn a_stall_can_be_taken_along_as_markdown() {
        let (_tokio, page) = page(vec![ended(1)]);
        let report = text(page.markdown(1).expect("it is kept"));
        let expected = [
            "### `GET /hello` blocked worker 0 for 300 ms: unknown\n",
            "| where | `app::load` |\n",
            "| around it | 1 of 4 workers stalled; requests: 0 in flight, none waited |\n",
            "\n```text\nnanosleep\napp::load\n```\n",
        ];
        for part in expected {
            assert!(report.contains(part), "{part:?} in {report}");
        }
        assert!(page.markdown(2).is_none());
    }

    #[test]
    fn a_known_place_of_a_handler_comes_before_an_unknown_one() {
        let (_tokio, page) = page(vec![ended(1)]);
        // Of the same handler and of another one, for longer.
        let without: Vec<_> = [(2, "GET /hello"), (3, "GET /other")]
            .into_iter()
            .map(|(id, handler)| {
                let entry = LiveStall::new(Stall { handler: handler.into(), ..ended(id) });
                entry.set_stack_result(StackResult::default());
                entry.end(900_000_000, 0);
                Arc::new(entry)
            })
            .collect();
        page.registry.store.take_over(&mut without.clone());
        let sites = page.report().sites;
        let rows: Vec<_> = sites.iter().map(|(key, _)| (key.handler, key.site.is_some())).collect();
        assert_eq!(rows, [("GET /other", false), ("GET /hello", true), ("GET /hello", false)]);
    }

    #[test]
    fn a_detector_that_is_switched_off_says_so() {
        let page = Page::new(Registry::new(Limits { watching: false, ..LIMITS }));
        assert!(text(page.html()).contains("Switched off by TOWER_STALL=off"));
        let document: serde_json::Value = serde_json::from_str(&text(page.json())).expect("JSON");
        assert_eq!(document["verdict"]["state"], "off");
    }

    #[cfg(feature = "flamegraph")]
    #[test]
    fn the_flame_graph_has_the_time_of_handlers_alone() {
        let starved = Stall { cause: Cause::Starved, handler: ENVIRONMENT.into(), ..ended(1) };
        let (_tokio, page) = page(vec![starved, ended(2), ended(3)]);
        let graph = text(page.flame_graph().expect("a graph"));
        for function in ["GET /hello", "app::load", "nanosleep"] {
            let title = format!("<title>{function} (600 ms, 100.00%)</title>");
            assert!(graph.contains(&title), "{title} in {graph}");
        }
        assert!(!graph.contains(ENVIRONMENT), "{graph}");
    }

    #[test]
    fn sums_are_whole_though_a_stall_has_left_the_ring() {
        let (_tokio, page) = page((1..=40).map(ended).collect());
        let kept = page.report().recent.len();
        assert!(kept < 40, "the history of this test is short");
        let time = Duration::from_millis(40 * 300);
        assert_eq!(page.report().own, report::Total { stalls: 40, time });
    }
}
