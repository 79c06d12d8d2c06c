//! What stands in the parentheses of the attribute.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Lit, LitInt, LitStr, Path, Result, Token};

/// As in the library.
const DEFAULT_THRESHOLD_MS: u64 = 100;
const THRESHOLD: &str = "threshold";
/// What `#[tokio::test]` takes.
const OF_TOKIO: [&str; 6] =
    ["flavor", "worker_threads", "start_paused", "crate", "unhandled_panic", "name"];

pub(crate) struct Arguments {
    pub(crate) threshold_ms: u64,
    /// Where Tokio is.
    pub(crate) tokio: TokenStream,
    /// What it gets, as it was written.
    pub(crate) for_tokio: TokenStream,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (mut threshold_ms, mut tokio) = (None, quote!(::tokio));
        let mut for_tokio = TokenStream::new();
        while !input.is_empty() {
            // `crate` is a keyword.
            let name = input.call(Ident::parse_any)?;
            let text = name.to_string();
            if text != THRESHOLD && !OF_TOKIO.contains(&text.as_str()) {
                return Err(unknown(&name));
            }
            let equals: Token![=] = input.parse().map_err(|_| {
                Error::new(name.span(), format!("`{text}` needs a value: `{text} = …`"))
            })?;
            let value: Lit = input.parse()?;
            if text == THRESHOLD {
                if threshold_ms.replace(milliseconds(&value)?).is_some() {
                    return Err(Error::new(name.span(), "`threshold` is there twice"));
                }
            } else {
                if text == "crate"
                    && let Lit::Str(path) = &value
                {
                    let path: Path = path.parse()?;
                    tokio = quote!(#path);
                }
                for_tokio.extend(quote!(#name #equals #value,));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let threshold_ms = threshold_ms.unwrap_or(DEFAULT_THRESHOLD_MS);
        Ok(Self { threshold_ms, tokio, for_tokio })
    }
}

fn unknown(name: &Ident) -> Error {
    let known = OF_TOKIO.join("`, `");
    let text =
        format!("unknown argument `{name}`: expected `{THRESHOLD}`, or one of Tokio's: `{known}`");
    Error::new(name.span(), text)
}

fn milliseconds(value: &Lit) -> Result<u64> {
    let ms = match value {
        Lit::Int(number) => of_number(number),
        Lit::Str(text) => of_text(text),
        _ => None,
    };
    match ms {
        Some(0) => Err(Error::new(value.span(), "the threshold is at least 1 ms")),
        Some(ms) => Ok(ms),
        None => Err(Error::new(
            value.span(),
            "expected a duration, as \"50ms\" or \"2s\", or a number of milliseconds",
        )),
    }
}

fn of_number(number: &LitInt) -> Option<u64> {
    number.suffix().is_empty().then(|| number.base10_parse().ok())?
}

fn of_text(text: &LitStr) -> Option<u64> {
    let text = text.value();
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let ms: u64 = match text[number.len()..].trim_start() {
        "ms" => 1,
        "s" => 1000,
        _ => return None,
    };
    ms.checked_mul(number.parse().ok()?)
}
