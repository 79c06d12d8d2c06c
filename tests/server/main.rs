//! The example service as a process of its own, under real clients: curl-like requests, signals,
//! wrk, a real Prometheus.

mod child;
mod load;
mod process;
mod prometheus;
