//! Circles between files: who imports whom, file by file, by what the code names.
//!
//! - A path counts for the file of the last module in it; an item that a module only re-exports counts
//!   for the file that has it. So a child that takes from its parent what a sibling has imports the
//!   sibling, and one that takes what `mod.rs` itself defines imports `mod.rs`.
//! - A file that declares and re-exports its children does not import them. One whose own code uses
//!   them does.
//! - Code for tests does not count.

mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokens::{closing, tokens};

/// The circles, each as the files on the way round, the first in the alphabet first. Of a knot of
/// many, the shortest through each file. `sources` are paths below `src/` and their text.
pub(crate) fn circles(sources: &[(String, String)]) -> Vec<Vec<String>> {
    let files = Files::read(sources);
    let imports: BTreeMap<&str, BTreeSet<&str>> =
        files.0.iter().map(|file| (file.path, files.imports(file))).collect();
    let found: BTreeSet<Vec<&str>> =
        imports.keys().filter_map(|file| shortest(&imports, file)).map(from_first).collect();
    let owned = |circle: Vec<&str>| circle.into_iter().map(str::to_owned).collect();
    found.into_iter().map(owned).collect()
}

/// The shortest way from a file back to it.
fn shortest<'a>(
    imports: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    start: &'a str,
) -> Option<Vec<&'a str>> {
    let mut reached_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for import in &imports[file] {
            if *import == start {
                let mut way = vec![file];
                while let Some(before) = reached_from.get(way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !reached_from.contains_key(import) {
                reached_from.insert(*import, file);
                queue.push_back(import);
            }
        }
    }
    None
}

fn from_first(mut circle: Vec<&str>) -> Vec<&str> {
    let first = (0..circle.len()).min_by_key(|at| circle[*at]).expect("it has files");
    circle.rotate_left(first);
    circle
}

/// The names of modules and items from the root of the crate.
type Path = Vec<String>;

/// One name that a `use` brings into a file.
struct Used {
    path: Path,
    /// By what the file calls it; `*` for all names of a module.
    name: String,
    is_public: bool,
}

struct File<'a> {
    path: &'a str,
    module: Path,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    uses: Vec<Used>,
    /// What the code outside of `use` names, from the root of the crate.
    paths: Vec<Path>,
    /// All words of that code.
    words: BTreeSet<String>,
}

struct Files<'a>(Vec<File<'a>>);

impl<'a> Files<'a> {
    /// Follows the declarations of modules from `lib.rs`.
    fn read(sources: &'a [(String, String)]) -> Self {
        let texts: BTreeMap<&str, &str> =
            sources.iter().map(|(path, text)| (&**path, &**text)).collect();
        let mut files = Vec::new();
        let mut queue = VecDeque::from([("lib.rs", Path::new())]);
        while let Some((path, module)) = queue.pop_front() {
            let mut reader = Reader::new(File {
                path,
                module,
                children: BTreeSet::new(),
                items: BTreeSet::new(),
                uses: Vec::new(),
                paths: Vec::new(),
                words: BTreeSet::new(),
            });
            reader.read(&tokens(texts[path]));
            for (child, places) in reader.declared {
                let module = [&reader.file.module[..], &[child]].concat();
                for place in places {
                    if let Some((path, _)) = texts.get_key_value(&*place) {
                        queue.push_back((path, module.clone()));
                    }
                }
            }
            files.push(reader.file);
        }
        Self(files)
    }

    /// The file of a module. Where one of several is compiled, the one that has its name.
    fn of(&self, module: &[String]) -> Option<&File<'a>> {
        self.0.iter().find(|file| file.module == module)
    }

    /// The file that has what a path names.
    fn target(&self, path: &[String], depth: usize) -> Option<&File<'a>> {
        let modules = (0..=path.len()).rev().find(|length| self.of(&path[..*length]).is_some())?;
        let file = self.of(&path[..modules])?;
        let Some(item) = path.get(modules) else { return Some(file) };
        if depth == 0 || item == "*" || file.items.contains(item) {
            return Some(file);
        }
        let named = file.uses.iter().find(|used| used.name == *item);
        let all = || {
            let all = file.uses.iter().filter(|used| used.is_public && used.name == "*");
            all.map(|used| &used.path[..used.path.len() - 1])
                .find(|module| self.of(module).is_some_and(|file| file.items.contains(item)))
        };
        match named {
            Some(used) => self.target(&used.path, depth - 1),
            None => all().map_or(Some(file), |module| self.of(module)),
        }
    }

    fn imports(&self, file: &File<'a>) -> BTreeSet<&'a str> {
        let used = file.uses.iter().filter(|used| {
            let is_child = used.path.starts_with(&file.module);
            !(is_child && used.is_public) || file.words.contains(&used.name)
        });
        let paths = used.map(|used| &used.path).chain(&file.paths);
        let targets = paths.filter_map(|path| self.target(path, 8));
        targets.map(|target| target.path).filter(|path| *path != file.path).collect()
    }
}

/// Goes through the tokens of a file.
struct Reader<'a> {
    file: File<'a>,
    /// Modules with files of their own, and where those may be.
    declared: Vec<(String, Vec<String>)>,
    /// Names of the modules that are open, and how many braces were open before each.
    inside: Vec<(String, usize)>,
    braces: usize,
}

const ITEMS: [&str; 9] =
    ["const", "enum", "fn", "macro_rules", "static", "struct", "trait", "type", "union"];

impl<'a> Reader<'a> {
    fn new(file: File<'a>) -> Self {
        Self { file, declared: Vec::new(), inside: Vec::new(), braces: 0 }
    }

    fn read(&mut self, tokens: &[&str]) {
        let is = |at: usize, token: &str| tokens.get(at) == Some(&token);
        // Where the file of the next module is, if an attribute says so.
        let mut place = None;
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at];
            let after = at.checked_sub(1).map_or("", |before| tokens[before]);
            match token {
                "{" => self.braces += 1,
                "}" => {
                    self.braces = self.braces.saturating_sub(1);
                    self.inside.pop_if(|(_, braces)| *braces == self.braces);
                }
                "path" if is(at + 1, "=") && tokens[at + 2].starts_with('"') => {
                    place = Some(tokens[at + 2].trim_matches('"'));
                }
                "mod" if is(at + 2, ";") => {
                    self.declare(tokens[at + 1], place.take());
                    at += 1;
                }
                // Who may see an item is no import.
                "pub" if is(at + 2, "in") => at += 1 + closing(&tokens[at + 1..]),
                "mod" if is(at + 2, "{") => {
                    self.inside.push((tokens[at + 1].to_owned(), self.braces));
                    at += 1;
                }
                "use" => {
                    let length = tokens[at..].iter().position(|token| *token == ";");
                    let end = at + length.expect("it ends");
                    let is_public = after == "pub" || after == ")";
                    self.uses(&tokens[at + 1..end], &mut Vec::new(), is_public);
                    at = end;
                }
                _ if is_word(token) && after != "::" && after != "." => {
                    if ITEMS.contains(&after) || after == "!" && ITEMS.contains(&tokens[at - 2]) {
                        self.file.items.insert(token.to_owned());
                    } else {
                        self.file.words.insert(token.to_owned());
                        let mut path = vec![token];
                        while is(at + 1, "::") && tokens.get(at + 2).is_some_and(|t| is_word(t)) {
                            path.push(tokens[at + 2]);
                            at += 2;
                        }
                        if path.len() > 1 {
                            self.file.paths.extend(self.absolute(&path));
                        }
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn declare(&mut self, child: &str, place: Option<&str>) {
        self.file.children.insert(child.to_owned());
        let (folder, name) = self.file.path.rsplit_once('/').unwrap_or(("", self.file.path));
        let own = name.strip_suffix(".rs").filter(|name| !["mod", "lib"].contains(name));
        let below = |parts: &[&str]| {
            let parts = [&[folder][..], parts].concat();
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
        };
        let folder = own.unwrap_or_default();
        let usual = [format!("{child}.rs"), format!("{child}/mod.rs")];
        let mut places: Vec<_> = usual.iter().map(|place| below(&[folder, place])).collect();
        places.extend(place.map(|place| below(&[place])));
        self.declared.push((child.to_owned(), places));
    }

    /// Notes what a tree of `use` has, below `start`.
    fn uses(&mut self, tree: &[&str], start: &mut Vec<String>, is_public: bool) {
        let depth = start.len();
        let mut at = 0;
        while at < tree.len() {
            match tree[at] {
                "{" => {
                    let end = at + closing(&tree[at..]);
                    for part in parts(&tree[at + 1..end]) {
                        self.uses(part, start, is_public);
                    }
                    start.truncate(depth);
                    return;
                }
                "::" => {}
                "as" => break,
                name => start.push(name.to_owned()),
            }
            at += 1;
        }
        let path: Vec<&str> = start.iter().map(String::as_str).collect();
        let of_module = path.last() == Some(&"self") && path.len() > 1;
        let path = if of_module { &path[..path.len() - 1] } else { &path[..] };
        let name = if at < tree.len() { tree[at + 1] } else { path[path.len() - 1] };
        if let Some(absolute) = self.absolute(path) {
            let name = name.to_owned();
            self.file.uses.push(Used { path: absolute, name, is_public });
        }
        start.truncate(depth);
    }

    /// The path from the root of the crate; `None` of another crate's, or of what a `use` has named.
    fn absolute(&self, path: &[&str]) -> Option<Path> {
        let mut module = self.file.module.clone();
        module.extend(self.inside.iter().map(|(name, _)| name.clone()));
        let mut rest = path;
        match path[0] {
            "crate" => (module, rest) = (Path::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while let Some(("super", below)) = rest.split_first().map(|(a, b)| (*a, b)) {
                    module.pop();
                    rest = below;
                }
            }
            name if self.inside.is_empty() && self.file.children.contains(name) => {}
            _ => return None,
        }
        module.extend(rest.iter().map(|name| (*name).to_owned()));
        Some(module)
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The parts between the commas of a group.
fn parts<'t, 'a>(group: &'t [&'a str]) -> Vec<&'t [&'a str]> {
    let (mut parts, mut begin, mut open) = (Vec::new(), 0, 0);
    for (at, token) in group.iter().enumerate() {
        open += i32::from(*token == "{") - i32::from(*token == "}");
        if *token == "," && open == 0 {
            parts.push(&group[begin..at]);
            begin = at + 1;
        }
    }
    parts.push(&group[begin..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn circles_are_found_in_all_their_forms() {
    let check = |files: &[(&str, &str)], expected: &[&[&str]]| {
        let sources: Vec<_> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        assert_eq!(circles(&sources), expected, "{files:?}");
    };
    let one = "use crate::two::{self, three::Three};";
    check(&[("lib.rs", "mod one; mod two;"), ("one.rs", one), ("two.rs", "mod three;")], &[]);
    let (lib, back) =
        (("lib.rs", "mod one; pub mod two;"), "fn f() { crate::one::g(&'\"', 'a'); }");
    check(&[lib, ("one.rs", one), ("two.rs", back)], &[&["one.rs", "two.rs"]]);
    let three = [lib, ("one.rs", one), ("two/mod.rs", "mod three;"), ("two/three.rs", back)];
    check(&three, &[&["one.rs", "two/three.rs"]]);
    // What is only for tests, said in a comment or in a string, or of another crate does not count.
    for not in [
        "#[cfg(test)]\nuse crate::one::{A, B};",
        "#[cfg(all(test, unix))]\n#[allow(unused)]\nfn f(one: [u8; 2]) { crate::one::g() }",
        "#[cfg(test)]\nmod tests { use crate::one::g; }",
        "// use crate::one::g;\nconst C: &str = \"\\\" crate::one::g\";",
        "use std::one::crate_; fn f(x: one::Two) {}",
    ] {
        check(&[lib, ("one.rs", one), ("two.rs", not)], &[]);
    }

    // A parent that declares and re-exports; then one whose own code uses what it re-exports.
    let (parent, child) = ("mod a; pub(crate) use a::A;", "use super::own; pub(crate) struct A;");
    let of = |parent: &'static str, child| {
        [("lib.rs", "mod p;"), ("p/mod.rs", parent), ("p/a.rs", child)]
    };
    check(&of(parent, child), &[]);
    let circle: &[&[&str]] = &[&["p/a.rs", "p/mod.rs"]];
    for uses in [
        "mod a; pub(crate) use a::A; fn own() -> A {}",
        "mod a; use a::A; fn own() {}",
        "mod a; fn own() { a::f() }",
        "mod a; fn own() {} mod inner { fn f(a: super::a::A) {} }",
    ] {
        check(&of(uses, child), circle);
    }
    check(&of("mod a; use a::A; fn own() {}", "pub(crate) struct A;"), &[]);
    // The name of a module that is also an item's, and who may see one.
    let child = "use super::own; pub(crate) fn a() {}";
    check(&of("mod a; pub(crate) use a::a; fn own() {}", child), &[]);
    let child = "pub(in crate::p) fn f() {}";
    check(&of("mod a; fn own() { a::f() }", child), &[]);

    // Siblings that meet by their parent's re-exports.
    let parent = "mod a; mod b; pub(crate) use a::A; pub(crate) use b::*;";
    let (a, b) = ("pub struct A; use super::B as Other;", "pub struct B; type T = super::A;");
    let siblings = [("lib.rs", "mod p;"), ("p.rs", parent), ("p/a.rs", a), ("p/b.rs", b)];
    check(&siblings, &[&["p/a.rs", "p/b.rs"]]);

    // A file for each system under one name.
    let lib = "#[cfg_attr(not(unix), path = \"other.rs\")]\nmod native; mod one;";
    let (native, other) = ("fn g() {}", "use super::one::f;");
    let files = [("lib.rs", lib), ("native.rs", native), ("other.rs", other)];
    check(&[&files[..], &[("one.rs", "use crate::native::g; fn f() {}")]].concat(), &[]);

    // Of a longer way round all files are named.
    let next = |next: &str| format!("use crate::{next}::f as g; fn f() {{}}");
    let (a, b, c) = (next("b"), next("c"), next("a"));
    let way = [("lib.rs", "mod a; mod b; mod c;"), ("a.rs", &a), ("b.rs", &b), ("c.rs", &c)];
    check(&way, &[&["a.rs", "b.rs", "c.rs"]]);
}
