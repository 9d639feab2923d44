//! Keystone session and clients of Ironic, Placement, Neutron, Cinder and Glance.

pub mod ironic;
