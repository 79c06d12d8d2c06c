//! For tests that forbid blocking: a test fails with handler, cause and line of what blocked.
//!
//! ```
//! use std::time::Duration;
//! use tower_stall::testing::assert_no_stalls;
//!
//! async fn sum(numbers: &[u64]) -> u64 {
//!     tokio::task::yield_now().await; // std::thread::sleep would fail the test
//!     numbers.iter().sum()
//! }
//!
//! // #[tokio::test]
//! async fn it_sums() {
//!     let sum = assert_no_stalls(Duration::from_millis(100), sum(&[1, 2, 3])).await;
//!     assert_eq!(sum, 6);
//! }
//! # tokio::runtime::Runtime::new().unwrap().block_on(it_sums());
//! ```
//!
//! | you have | use |
//! |---|---|
//! | one future | [`assert_no_stalls`] |
//! | a whole test, in one line | `#[tower_stall::test]`, with the feature `macros` |
//! | a whole test, with tasks, services or runtimes of its own | [`NoStalls`] |
//! | an axum router and a request | `call`, with the feature `axum` |
//! | doubts whether all this is switched on | [`assert_armed`] |
//!
//! [`_documentation::testing`](crate::_documentation::testing) says what each of them sees, what it does
//! not, how long it takes, and how CI gets a report.

#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __attribute;
mod armed;
#[cfg(feature = "axum")]
mod call;
mod found;
mod future;
mod guard;
mod report;

pub use armed::assert_armed;
#[cfg(feature = "axum")]
pub use call::call;
pub use future::assert_no_stalls;
pub use guard::NoStalls;
