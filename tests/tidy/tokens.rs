//! A file of Rust in tokens, as far as imports need it.

/// The tokens of a text: words, strings, `::` and single signs. Comments, and items for tests alone,
/// are left out.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_string(rest),
            '\'' => character(rest),
            '_' | 'a'..='z' | 'A'..='Z' => {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
            }
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !token.starts_with("//") && !token.starts_with(char::is_whitespace) {
            all.push(token);
        }
        rest = after;
    }
    without_tests(&all)
}

/// The length of the string with which the text begins.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The same of a raw one, or of a raw word.
fn raw_string(text: &str) -> usize {
    let signs = text[1..].chars().take_while(|c| *c == '#').count();
    let begin = 1 + signs + 1;
    let end = format!("\"{}", "#".repeat(signs));
    let is_string = text[1 + signs..].starts_with('"');
    let length = || text[begin..].find(&end).map_or(text.len(), |at| begin + at + end.len());
    if is_string { length() } else { begin }
}

/// The same of a character, or of the sign of a lifetime.
fn character(text: &str) -> usize {
    let mut signs = text.char_indices().skip(1);
    match (signs.next(), signs.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            text[at + 1..].find('\'').map_or(1, |end| at + 1 + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Leaves out each item under `#[cfg(test)]` or `#[cfg(all(test`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let begins = [&["#", "[", "cfg", "(", "test"][..], &["#", "[", "cfg", "(", "all", "(", "test"]];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if !begins.iter().any(|begin| tokens[at..].starts_with(begin)) {
            kept.push(tokens[at]);
            at += 1;
            continue;
        }
        // Over this attribute, those after it, and the item with its semicolon or its braces.
        while tokens.get(at) == Some(&"#") {
            at += 1 + closing(&tokens[at + 1..]) + 1;
        }
        while at < tokens.len() && ![";", "{"].contains(&tokens[at]) {
            let is_group = ["(", "["].contains(&tokens[at]);
            at += if is_group { closing(&tokens[at..]) + 1 } else { 1 };
        }
        let is_use_group = tokens.get(at.wrapping_sub(1)) == Some(&"::");
        at += if tokens.get(at) == Some(&"{") { closing(&tokens[at..]) + 1 } else { 1 };
        at += usize::from(is_use_group);
    }
    kept
}

/// Where the bracket closes with which the tokens begin.
pub(super) fn closing(tokens: &[&str]) -> usize {
    let mut open = 0;
    let is_end = |token: &&str| {
        open += i32::from(["{", "(", "["].contains(token));
        open -= i32::from(["}", ")", "]"].contains(token));
        open == 0
    };
    tokens.iter().position(is_end).unwrap_or(tokens.len() - 1)
}
