//! Tests of the page of stalls with a browser and a validator, which are too heavy for its own.
