//! Every way in which less can be seen, forced: stalls are still found and told, with the cause
//! that can still be known, and it is said why there is no stack.

#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod calls;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod filter;
mod found;
#[cfg(all(feature = "capture", any(target_arch = "aarch64", target_arch = "x86_64")))]
mod loader;
#[cfg(all(feature = "capture", any(target_arch = "aarch64", target_arch = "x86_64")))]
mod proc;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod restricted;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod scarce;
#[cfg(all(feature = "capture", any(target_arch = "aarch64", target_arch = "x86_64")))]
mod stacks;
#[cfg(not(feature = "capture"))]
mod without_capture;
