//! All families of faults.

use crate::scene::Fault;
use crate::{awaits, compute, dns, locks, nested, network, sleep, stack, system};

/// Whoever includes this includes their modules too.
pub(crate) const FAMILIES: [&[Fault]; 9] = [
    awaits::FAULTS,
    compute::FAULTS,
    dns::FAULTS,
    locks::FAULTS,
    nested::FAULTS,
    network::FAULTS,
    sleep::FAULTS,
    stack::FAULTS,
    system::FAULTS,
];
