//! The attribute `#[tower_stall::test]`: use it through the feature `macros` of `tower-stall`.

mod arguments;
mod function;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use arguments::Arguments;
use function::Function;

/// A `#[tokio::test]` that fails if anything blocks while it runs, with test or handler, cause, line
/// and fix.
///
/// ```
/// use tower_stall::testing::NoStalls;
///
/// #[tower_stall::test]
/// async fn an_import_does_not_block() {
///     tokio::task::yield_now().await; // std::thread::sleep would fail the test
/// }
///
/// #[tower_stall::test(threshold = "50ms", flavor = "multi_thread", worker_threads = 2)]
/// async fn neither_does_the_service(guard: &NoStalls) -> Result<(), std::io::Error> {
///     let app: axum::Router = axum::Router::new().layer(guard.layer());
///     // …
///     Ok(())
/// }
/// ```
///
/// | argument | what it says |
/// |---|---|
/// | `threshold` | what takes longer is a stall: `"50ms"`, `"2s"` or a number of milliseconds; 100 ms without it, at least 1 ms |
/// | `flavor`, `worker_threads`, `start_paused`, `crate`, `unhandled_panic`, `name` | what they say to `#[tokio::test]` |
///
/// The test is an `async fn`, with whatever return type and other attributes a `#[tokio::test]` may have. It
/// may have one parameter, the `&NoStalls` that watches it: to name tasks and the routes of a router. It
/// needs Tokio with its feature `macros`.
///
/// The body counts for the name of the test as the handler. Where the body returns an error and
/// something has blocked, the error is written to the standard error, and the stalls fail the test. A panic
/// goes on as it is, so that a test with `#[should_panic]` passes; one that blocks passes too, unless
/// `expected` says what it is to panic with.
///
/// ```compile_fail
/// #[tower_stall::test]
/// fn without_async() {}
/// ```
///
/// ```compile_fail
/// #[tower_stall::test(threshold = "fast")]
/// async fn fast() {}
/// ```
#[proc_macro_attribute]
pub fn test(
    arguments: proc_macro::TokenStream,
    function: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    let function = TokenStream::from(function);
    expand(arguments.into(), function.clone())
        .unwrap_or_else(|error| {
            // The function as well, so that what it calls is not taken for unused.
            let error = error.into_compile_error();
            quote!(#error #function)
        })
        .into()
}

fn expand(arguments: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let function: Function = syn::parse2(function)?;
    Ok(function.watched(&arguments).into_token_stream())
}

#[cfg(test)]
mod tests;
