//! The pages belong together: each link leads to something that exists, each page of `docs/` is reached
//! from its index and has its code compiled, each cause has its page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use tower_stall::Cause;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The pages outside of `docs/`.
const OTHERS: [&str; 6] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "tests/README.md",
];
const INDEX: &str = "docs/README.md";

/// What a page has.
#[derive(Default)]
struct Page {
    title: String,
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// Blocks of code, by language.
    code: Vec<(String, String)>,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(Path::new(ROOT).join(path)).expect(path);
        let mut page = Self::default();
        let (mut heading, mut block) = (None, None);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS) {
            match event {
                Event::Start(Tag::Heading { level, .. }) => heading = Some((level, String::new())),
                Event::End(TagEnd::Heading(_)) => {
                    page.add_heading(heading.take().expect("a heading that has begun"));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some((language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.code.extend(block.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, so_far)) = &mut block {
                        so_far.push_str(&text);
                    } else if let Some((_, so_far)) = &mut heading {
                        so_far.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    fn add_heading(&mut self, (level, text): (HeadingLevel, String)) {
        let anchor = anchor(&text);
        let mut number = 0;
        let mut is_new = self.anchors.insert(anchor.clone());
        while !is_new {
            number += 1;
            is_new = self.anchors.insert(format!("{anchor}-{number}"));
        }
        if level == HeadingLevel::H1 && self.title.is_empty() {
            self.title = text;
        }
    }

    fn is_rust(language: &str) -> bool {
        language.split(',').any(|word| word == "rust")
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// The Markdown files of a folder and below, as paths from the root.
fn markdown_below(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let mut found = Vec::new();
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let name = format!("{folder}/{}", entry.file_name().to_str().expect("a name"));
        if entry.path().is_dir() {
            found.extend(markdown_below(&name));
        } else if name.ends_with(".md") {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn book() -> BTreeMap<String, Page> {
    let pages = markdown_below("docs").into_iter().map(|path| {
        let page = Page::read(&path);
        (path, page)
    });
    pages.collect()
}

/// Where a link leads from that page: a path from the root, and an anchor. `None` for other sites.
fn target(page: &str, link: &str) -> Option<(String, Option<String>)> {
    if link.contains("://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, it)| (path, Some(it)));
    if path.is_empty() {
        return Some((page.to_owned(), anchor.map(str::to_owned)));
    }
    let mut whole = PathBuf::new();
    let from = Path::new(page).parent().expect("a file is in a folder");
    for part in from.join(path).components() {
        match part {
            Component::ParentDir => assert!(whole.pop(), "{page}: {link} leaves the repository"),
            part => whole.push(part),
        }
    }
    let whole = whole.to_str().expect("a path of text").to_owned();
    Some((whole, anchor.map(str::to_owned)))
}

#[test]
fn each_link_leads_to_something_that_exists() {
    let mut pages = book();
    pages.extend(OTHERS.map(|path| (path.to_owned(), Page::read(path))));
    let mut broken = Vec::new();
    let mut checked = 0;
    for (path, page) in &pages {
        for link in &page.links {
            let Some((to, anchor)) = target(path, link) else { continue };
            checked += 1;
            let has_anchor = |anchor: &String| pages[&to].anchors.contains(anchor);
            let is_there = Path::new(ROOT).join(&to).exists();
            if !is_there || anchor.is_some_and(|anchor| !has_anchor(&anchor)) {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 100, "links were found");
}

#[test]
fn anchors_are_those_of_github() {
    for (heading, expected) in [
        ("Where the layer goes", "where-the-layer-goes"),
        ("When there is no line, `sleep`", "when-there-is-no-line-sleep"),
        ("block_on on a worker", "block_on-on-a-worker"),
        ("300 services × 20 pods", "300-services--20-pods"),
    ] {
        assert_eq!(anchor(&heading.replace('`', "")), expected);
    }
}

#[test]
fn each_page_of_the_book_is_reached_from_its_index() {
    let pages = book();
    let mut reached = BTreeSet::from([INDEX.to_owned()]);
    let mut next = vec![INDEX.to_owned()];
    while let Some(path) = next.pop() {
        let links = pages[&path].links.iter().filter_map(|link| target(&path, link));
        for (to, _) in links.filter(|(to, _)| pages.contains_key(to)) {
            if reached.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    let lost: Vec<_> = pages.keys().filter(|path| !reached.contains(*path)).collect();
    assert!(lost.is_empty(), "no way leads to {lost:?}");
}

#[test]
fn each_page_is_a_chapter_so_that_its_code_is_compiled() {
    let library = include_str!("../../src/lib.rs");
    for (path, page) in book() {
        let chapter = format!("include_str!(\"../{path}\")");
        assert!(library.contains(&chapter), "src/lib.rs lacks {chapter}");
        assert!(!page.title.is_empty(), "{path} has no title");
        for (language, code) in &page.code {
            assert!(!language.is_empty(), "{path}: the language is missing of\n{code}");
            let skipped = language.split(',').any(|word| word == "ignore");
            assert!(!skipped, "{path}: this is not compiled:\n{code}");
            let is_hidden = |line: &str| line.trim_start().starts_with("# ");
            let hides = Page::is_rust(language) && code.lines().any(is_hidden);
            assert!(!hides, "{path}: a line that rustdoc hides is seen in the repository:\n{code}");
        }
    }
}

/// Code with other crates is that of an example, or of another crate's documentation, which are compiled: its
/// blocks are `rs`, which rustdoc does not take for code of its own.
#[test]
fn code_of_other_crates_is_that_of_an_example() {
    let examples =
        ["examples/tonic/src/main.rs", "examples/otel/src/main.rs", "plugins/sentry/src/lib.rs"]
            .map(|path| fs::read_to_string(Path::new(ROOT).join(path)).expect(path));
    let code = |line: &str| line.trim().trim_start_matches("//!").trim().to_owned();
    let has = |line: &str| examples.iter().flat_map(|text| text.lines()).any(|it| code(it) == line);
    let mut found = 0;
    for (path, page) in book() {
        for (_, block) in page.code.iter().filter(|(language, _)| language == "rs") {
            for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
                assert!(has(line), "{path}: no example has {line:?}");
                found += 1;
            }
        }
    }
    assert!(found > 3, "lines were found");
}

#[test]
fn each_cause_has_its_page_with_code_before_and_after() {
    let of_causes = Cause::ALL.map(|cause| format!("docs/fix/{cause}.md"));
    let there: BTreeSet<_> = markdown_below("docs/fix").into_iter().collect();
    assert_eq!(there, BTreeSet::from(of_causes));
    let causes = Page::read("docs/causes.md");
    for cause in Cause::ALL {
        let (link, path) = (format!("fix/{cause}.md"), format!("docs/fix/{cause}.md"));
        assert!(causes.links.contains(&link), "docs/causes.md does not lead to {path}");
        let (page, text) = (Page::read(&path), fs::read_to_string(Path::new(ROOT).join(&path)));
        assert!(page.title.starts_with(&format!("{cause}: ")), "{path}: {}", page.title);
        let text = text.expect("it was read before");
        assert!(text.contains("**Before") && text.contains("**After"), "{path}");
        let code = page.code.iter().filter(|(language, _)| Page::is_rust(language)).count();
        assert!(code >= 2, "{path} has {code} blocks of code");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = include_str!("../../README.md").lines().count();
    assert!(lines <= 180, "{lines} lines: move what only some need to docs/");
}
