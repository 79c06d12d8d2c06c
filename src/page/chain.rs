//! The chain of awaits of a stall, and the whole stack behind it.

use maud::{Markup, html};

use crate::label::printable;
use crate::stall::{Await, AwaitKind, Awaits, Stall};
use crate::text::handler_title;

/// Who awaits whom, outermost first.
pub(super) fn chain(stall: &Stall, awaits: &Awaits) -> Markup {
    html! {
        ol class="stack chain" aria-label="Chain of awaits, outermost first" {
            li class="begin" { (handler_title(&stall.handler)) }
            @for shown in &awaits.links { (link(shown)) }
        }
        @if let Some(why) = &awaits.missing { p class="none" { "Not all may be there: " (why) "." } }
    }
}

/// The chain and, one click away, the stack with all frames; the stack alone where there is no chain.
pub(super) fn chain_and_stack(stall: &Stall, whole_stack: Markup) -> Markup {
    let (Some(awaits), Some(stack)) = (&stall.awaits, &stall.stack) else {
        return whole_stack;
    };
    html! {
        h3 { "How it got here" }
        (chain(stall, awaits))
        details id="whole" class="more" {
            summary { "The whole stack: " (stack.frames.len()) " frames" }
            (whole_stack)
        }
    }
}

fn link(link: &Await) -> Markup {
    let text = printable(&link.to_string()).into_owned();
    let function = printable(&link.function).into_owned();
    html! {
        @match link.kind {
            AwaitKind::Library | AwaitKind::Omitted => li class="others" { (text) },
            AwaitKind::Combinator => li { code class="library" { (function) } },
            AwaitKind::Async | AwaitKind::Call => li {
                code { (function) }
                @if let Some(file) = &link.file {
                    " " span class="file" { (printable(file)) @if let Some(line) = link.line { ":" (line) } }
                }
                @if link.kind == AwaitKind::Call { " " small { "called" } }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stall::tests::stall;
    use crate::stall::{Frame, Stack};

    fn awaits() -> Awaits {
        let link = |kind, function: &str, line: Option<u32>| {
            let file = line.map(|_| "src/main.rs".to_owned());
            Await { file, line, ..Await::new(kind, function, 2) }
        };
        let links = vec![
            link(AwaitKind::Library, "axum, hyper", None),
            link(AwaitKind::Async, "app::show_order", Some(7)),
            link(AwaitKind::Combinator, "tokio::join!", None),
            link(AwaitKind::Async, "app::<load>", Some(9)),
            link(AwaitKind::Call, "app::parse", Some(11)),
        ];
        Awaits { links, missing: Some("outer frames are missing".into()) }
    }

    #[test]
    fn a_chain_goes_from_the_handler_inward() {
        let shown = chain(&stall(1), &awaits()).into_string();
        let places = [
            "GET /",
            "… 2 frames of axum, hyper",
            "app::show_order",
            "src/main.rs:7",
            "tokio::join!",
            "app::&lt;load&gt;",
            "src/main.rs:9",
            "app::parse",
            "src/main.rs:11",
            "called",
            "outer frames are missing",
        ];
        let places =
            places.map(|text| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}")));
        assert!(places.is_sorted(), "{shown}");
    }

    #[test]
    fn the_whole_stack_is_behind_the_chain() {
        let stack = Stack { frames: vec![Arc::new(Frame::default())], ..Stack::default() };
        let bare = Stall { stack: Some(Arc::new(stack)), ..stall(1) };
        let whole = || html! { "all frames" };
        assert_eq!(chain_and_stack(&bare, whole()).into_string(), "all frames");
        let with_chain = Stall { awaits: Some(Arc::new(awaits())), ..bare };
        let shown = chain_and_stack(&with_chain, whole()).into_string();
        let [chain, details, frame] =
            ["app::show_order", "<details", "all frames"].map(|text| shown.find(text));
        assert!(chain < details && details < frame && chain.is_some(), "{shown}");
    }
}
