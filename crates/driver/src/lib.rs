//! The Ironic driver: decide, act, watch.
