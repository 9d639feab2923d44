//! The architecture of a machine, by the names that the control plane knows.

use openstack::ironic::Node;

/// Hardware names that Nova knows (`nova/objects/fields.py`, class Architecture, from the os-arch names of libvirt).
const ARCHITECTURES: [&str; 34] = [
    "aarch64",
    "alpha",
    "armv6",
    "armv7l",
    "armv7b",
    "cris",
    "i686",
    "ia64",
    "lm32",
    "m68k",
    "microblaze",
    "microblazeel",
    "mips",
    "mipsel",
    "mips64",
    "mips64el",
    "openrisc",
    "parisc",
    "parisc64",
    "ppc",
    "ppcle",
    "ppc64",
    "ppc64le",
    "ppcemb",
    "s390",
    "s390x",
    "sh4",
    "sh4eb",
    "sparc",
    "sparc64",
    "unicore32",
    "x86_64",
    "xtensa",
    "xtensaeb",
];

/// The canonical name of the node's architecture; `None` if the operator wrote none that is known.
pub fn architecture(node: &Node) -> Option<&'static str> {
    let name = node.properties.get("cpu_arch")?.as_str()?.to_lowercase();
    let name = match name.as_str() {
        "i386" | "i486" | "i586" | "x86_32" | "x86_32p" => "i686",
        "amd64" => "x86_64",
        other => other,
    };
    ARCHITECTURES.into_iter().find(|known| *known == name)
}
