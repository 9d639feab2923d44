//! Why a request cannot be met, in the words of the compute manager.

/// What a service behind a port refuses. The text beside it is for the user; this is for callers that answer
/// differently to different refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request has a value that cannot be used.
    Invalid,
    /// The user's token is not valid, or not any more.
    Unauthenticated,
    /// The user may not do what the request needs.
    Forbidden,
    /// No network was named, and several could be meant.
    NetworkAmbiguous,
    /// The network is not there, or the user cannot see it.
    NetworkNotFound,
    /// A network is needed, and the project has none.
    NoNetwork,
    /// The network service could not make a network for the project.
    NoAutomaticNetwork,
    /// The network leads outside and is for administrators.
    ExternalNetwork,
    /// There is no such port, or the user cannot see it.
    PortNotFound,
    /// The port is another server's.
    PortInUse,
    /// The port is another project's.
    PortNotUsable,
    /// The port has a name in DNS that is not the server's.
    PortNameDiffers,
    /// The network service could not bind the port.
    PortBindingFailed,
    /// The port needs resources that were not booked for it.
    PortResourcesMissing,
    /// The control plane could not record the port.
    PortNotRecorded,
    /// The network's policy needs resources, and none were booked.
    QosPolicy,
    /// The project may have no more ports.
    PortQuota,
    /// The address belongs to another port.
    AddressInUse,
    /// The network has no free address.
    AddressesExhausted,
    /// The address does not exist where the server is.
    AddressNotOnHost,
    /// No port of the instance has the address.
    AddressNotFound,
    /// The instance has no port on the network that takes an address of it.
    NetworkNotOnInstance,
    /// Machines know interfaces by their addresses alone: no tag can be kept.
    TaggedInterface,
    /// The interface needs resources that no machine offers.
    InterfaceResources,
    /// The machine does not take the interface.
    NotAttached,
    /// The machine does not let the interface go.
    NotDetached,
    /// There is no such security group, or the user cannot see it.
    SecurityGroupNotFound,
    /// Several security groups have the name.
    SecurityGroupAmbiguous,
    /// The network filters nothing, or has no subnet.
    SecurityGroupNotApplicable,
    /// A disk cannot be made, attached or used as it was asked for.
    Disk,
    /// The project may have no more volumes.
    VolumeQuota,
    /// The policy of the server group forbids this host.
    GroupPolicy,
    /// The control plane does not know the action that the request id names.
    UnknownAction,
    /// Any other refusal of a service.
    Other,
}

impl Refusal {
    /// The HTTP status that the refusal has where it stands as a fault: the user's, or 500 where they could not know.
    pub fn code(self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::ExternalNetwork => 403,
            Self::NetworkNotFound
            | Self::PortNotFound
            | Self::AddressesExhausted
            | Self::AddressNotFound
            | Self::NetworkNotOnInstance
            | Self::SecurityGroupNotFound
            | Self::UnknownAction => 404,
            Self::SecurityGroupAmbiguous => 409,
            Self::PortQuota | Self::VolumeQuota => 413,
            Self::PortNotRecorded | Self::AddressInUse | Self::NotAttached | Self::Other => 500,
            Self::Invalid
            | Self::NetworkAmbiguous
            | Self::NoNetwork
            | Self::NoAutomaticNetwork
            | Self::PortInUse
            | Self::PortNotUsable
            | Self::PortNameDiffers
            | Self::PortBindingFailed
            | Self::PortResourcesMissing
            | Self::QosPolicy
            | Self::AddressNotOnHost
            | Self::TaggedInterface
            | Self::InterfaceResources
            | Self::NotDetached
            | Self::SecurityGroupNotApplicable
            | Self::Disk
            | Self::GroupPolicy => 400,
        }
    }
}
