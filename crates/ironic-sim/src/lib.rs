//! An Ironic in process: real state machine, injected faults, any number of nodes.
