//! Neutron, Cinder and the operator's vendor data behind the ports of the compute manager. What a control
//! plane records of ports and disks goes through a ledger that it implements; nothing here knows which
//! control plane it is.

#![deny(missing_docs)]

mod failure;
pub mod network;
pub mod vendor_data;
pub mod volumes;
