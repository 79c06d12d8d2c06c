//! Which crate of a program has its `main`.

/// The crate in the symbol of a `main` at the root of a crate: `_ZN3app4main17h…E`, or `_RNvC…3app4main`.
pub(super) fn crate_with_main(symbol: &[u8]) -> Option<&str> {
    let (name, rest) = match symbol.strip_prefix(b"_ZN") {
        Some(path) => identifier(path)?,
        None => {
            let root = symbol.strip_prefix(b"_RNvC")?;
            let root = match root.strip_prefix(b"s") {
                Some(number) => &number[number.iter().position(|byte| *byte == b'_')? + 1..],
                None => root,
            };
            identifier(root)?
        }
    };
    let after = rest.strip_prefix(b"4main")?;
    // A hash of 16 digits; the linker may add something after a dot.
    let after = match symbol.starts_with(b"_ZN") {
        true => after.strip_prefix(b"17h")?.get(16..)?.strip_prefix(b"E")?,
        false => after,
    };
    (after.is_empty() || after.starts_with(b".")).then_some(name)
}

/// A name after its length, and what follows.
fn identifier(text: &[u8]) -> Option<(&str, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length: usize = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    let rest = &text[digits..];
    let (name, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::crate_with_main;

    #[test]
    fn the_crate_of_a_main_is_told_from_its_symbol() {
        for (symbol, name) in [
            ("_ZN3app4main17h0123456789abcdefE", Some("app")),
            ("_ZN3app4main17h0123456789abcdefE.llvm.4711", Some("app")),
            ("_ZN19tower_stall_faults_4main17h0123456789abcdefE", Some("tower_stall_faults_")),
            ("_RNvCs5f1BOZx4Ylq_3app4main", Some("app")),
            ("_RNvC3app4main", Some("app")),
            ("_ZN3app3sub4main17h0123456789abcdefE", None),
            ("_ZN3app4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", None),
            ("_RNCNvCs5f1BOZx4Ylq_3app4main0B3_", None),
            ("_ZN3app5main217h0123456789abcdefE", None),
            ("_ZN99app4main17h0123456789abcdefE", None),
            ("main", None),
            ("_ZN", None),
            ("", None),
        ] {
            assert_eq!(crate_with_main(symbol.as_bytes()), name, "{symbol}");
        }
    }
}
