//! What the crate's files know as `crate::clock`.

pub(crate) type Nanos = u64;
