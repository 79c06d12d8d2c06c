//! What the attribute makes of a function, and what its errors say and point to.

use proc_macro2::TokenStream;

use super::expand;

const FUNCTION: &str = "async fn it() {}";

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("tokens")
}

fn expanded(arguments: &str, function: &str) -> String {
    expand(tokens(arguments), tokens(function)).expect("no error").to_string().replace(' ', "")
}

/// The message, and the part of the text that it points to.
#[track_caller]
fn error(arguments: &str, function: &str) -> (String, String) {
    let error = expand(tokens(arguments), tokens(function)).expect_err("an error");
    (error.to_string(), error.span().source_text().unwrap_or_default())
}

#[test]
fn it_is_a_test_of_tokio() {
    let text = expanded("", FUNCTION);
    assert!(text.starts_with("#[::tokio::test()]asyncfnit(){"), "{text}");
    assert!(text.contains("::core::stringify!(it)),100u64,false,async|_:&"), "{text}");
    assert!(text.contains("|->(){},).await}"), "{text}");
}

#[test]
fn arguments_of_tokio_go_to_tokio() {
    let arguments =
        r#"flavor = "multi_thread", worker_threads = 2, threshold = "50ms", crate = "a::tokio""#;
    let text = expanded(arguments, FUNCTION);
    let expected =
        r#"#[a::tokio::test(flavor="multi_thread",worker_threads=2,crate="a::tokio",)]asyncfnit"#;
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains(",50u64,false,"), "{text}");
    assert!(
        expanded("start_paused = true,", FUNCTION)
            .starts_with("#[::tokio::test(start_paused=true,)]")
    );
}

#[test]
fn thresholds_are_durations_or_milliseconds() {
    for (threshold, expected) in
        [("7", 7), ("1_000", 1000), (r#""50ms""#, 50), (r#""50 ms""#, 50), (r#""2s""#, 2000)]
    {
        let text = expanded(&format!("threshold = {threshold}"), FUNCTION);
        assert!(text.contains(&format!(",{expected}u64,")), "{text}");
    }
}

#[test]
fn what_the_function_has_stays() {
    let not_run = r#"ignore="slow""#;
    let function = format!(
        "/// Why.\n#[{not_run}] #[should_panic] pub(crate) async fn it(guard: &NoStalls) \
         -> Result<(), E> {{ #![allow(unused)] first()?; Ok(()) }}"
    );
    let text = expanded("", &function);
    let before = format!("#[doc=\"Why.\"]#[{not_run}]#[should_panic]#[allow(unused)]");
    for part in [
        &*(before + "pub(crate)asyncfnit()->Result<(),E>{"),
        ",true,async|guard:&NoStalls|->Result<(),E>{first()?;Ok(())},)",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    const DURATION: &str =
        "expected a duration, as \"50ms\" or \"2s\", or a number of milliseconds";
    for (arguments, message, place) in [
        (
            "thresold = 5",
            "unknown argument `thresold`: expected `threshold`, or one of Tokio's: `flavor`, \
             `worker_threads`, `start_paused`, `crate`, `unhandled_panic`, `name`",
            "thresold",
        ),
        (
            "start_paused = true, threshold",
            "`threshold` needs a value: `threshold = …`",
            "threshold",
        ),
        ("threshold(5)", "`threshold` needs a value: `threshold = …`", "threshold"),
        ("threshold = \"fast\"", DURATION, "\"fast\""),
        ("threshold = \"5\"", DURATION, "\"5\""),
        ("threshold = \"ms\"", DURATION, "\"ms\""),
        ("threshold = \"5m\"", DURATION, "\"5m\""),
        ("threshold = 5u8", DURATION, "5u8"),
        ("threshold = 0.5", DURATION, "0.5"),
        ("threshold = true", DURATION, "true"),
        ("threshold = \"99999999999999999999s\"", DURATION, "\"99999999999999999999s\""),
        ("threshold = 0", "the threshold is at least 1 ms", "0"),
        ("threshold = \"0s\"", "the threshold is at least 1 ms", "\"0s\""),
        ("threshold = 5, threshold = 6", "`threshold` is there twice", "threshold"),
        ("crate = \"a b\"", "unexpected token", "\"a b\""),
    ] {
        let (found, at) = error(arguments, FUNCTION);
        assert_eq!((found.as_str(), at.as_str()), (message, place), "{arguments}");
    }
}

#[test]
fn only_a_test_is_taken() {
    for (function, message, place) in [
        ("fn it() {}", "the test has to be an `async fn`", "fn"),
        ("async fn it<T>() {}", "a test cannot be generic", "<T>"),
        (
            "async fn it(guard: &NoStalls, more: u8) {}",
            "a test has one parameter at most, the `&NoStalls` that watches it",
            "more: u8",
        ),
        ("async fn it(&self) {}", "a test is a function, not a method", "&self"),
        ("struct It;", "expected `fn`", "struct"),
    ] {
        let (found, at) = error("", function);
        assert_eq!((found.as_str(), at.as_str()), (message, place), "{function}");
    }
}
