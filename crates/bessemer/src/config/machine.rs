//! Defaults that depend on the machine.

use std::net::UdpSocket;

/// The machine's name, as `socket.gethostname` tells Nova.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// The address from which this machine would reach the world, as `oslo_utils.netutils.get_my_ipv4` finds it: by the route to an
/// address reserved for documentation, to which nothing is sent.
pub(super) fn address() -> String {
    UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.0:80").and_then(|()| socket.local_addr()))
        .map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}
