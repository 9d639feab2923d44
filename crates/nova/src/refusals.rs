//! The classes of `nova.exception` that nova-api knows refusals by.

use compute::ports::Refusal;

/// The class of a refusal.
pub fn class(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid => "InvalidInput",
        Refusal::Unauthenticated => "Unauthorized",
        Refusal::Forbidden => "Forbidden",
        Refusal::NetworkAmbiguous => "NetworkAmbiguous",
        Refusal::NetworkNotFound => "NetworkNotFound",
        Refusal::NoNetwork => "InterfaceAttachFailedNoNetwork",
        Refusal::NoAutomaticNetwork => "UnableToAutoAllocateNetwork",
        Refusal::ExternalNetwork => "ExternalNetworkAttachForbidden",
        Refusal::PortNotFound => "PortNotFound",
        Refusal::PortInUse => "PortInUse",
        Refusal::PortNotUsable => "PortNotUsable",
        Refusal::PortNameDiffers => "PortNotUsableDNS",
        Refusal::PortBindingFailed => "PortBindingFailed",
        Refusal::PortResourcesMissing => "PortUpdateFailed",
        Refusal::PortNotRecorded => "VirtualInterfaceCreateException",
        Refusal::QosPolicy => "NetworksWithQoSPolicyNotSupported",
        Refusal::PortQuota => "PortLimitExceeded",
        Refusal::AddressInUse => "FixedIpAlreadyInUse",
        Refusal::AddressesExhausted => "NoMoreFixedIps",
        Refusal::AddressNotOnHost => "FixedIpInvalidOnHost",
        Refusal::AddressNotFound => "FixedIpNotFoundForInstance",
        Refusal::NetworkNotOnInstance => "NetworkNotFoundForInstance",
        Refusal::TaggedInterface => "NetworkInterfaceTaggedAttachNotSupported",
        Refusal::InterfaceResources => "InterfaceAttachResourceAllocationFailed",
        Refusal::NotAttached => "InterfaceAttachFailed",
        Refusal::NotDetached => "InterfaceDetachFailed",
        Refusal::SecurityGroupNotFound => "SecurityGroupNotFound",
        Refusal::SecurityGroupAmbiguous => "NoUniqueMatch",
        Refusal::SecurityGroupNotApplicable => "SecurityGroupCannotBeApplied",
        Refusal::Disk => "InvalidBDM",
        Refusal::VolumeQuota => "OverQuota",
        Refusal::GroupPolicy => "GroupAffinityViolation",
        Refusal::UnknownAction => "InstanceActionNotFound",
        Refusal::Other => "NovaException",
    }
}
