//! The two ends of a connection.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tlsclose_common::facts::Holder;

/// An address family of `include/linux/socket.h`.
const AF_INET6: u8 = 10;

/// One end: shown as `address:port`, IPv6 in brackets, v4-mapped as IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// In network order; of IPv4 the first four bytes.
    pub address: [u8; 16],
    /// In host order.
    pub port: u16,
}

/// Both ends, in the network namespace where they mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Ours.
    pub local: Endpoint,
    /// The peer's.
    pub remote: Endpoint,
    /// Inode of the network namespace.
    pub netns: u32,
}

impl Endpoints {
    /// Those of the socket that a census has shown.
    pub fn of(record: &Holder) -> Self {
        let end = |address, port| Endpoint { family: record.family, address, port };
        Self {
            local: end(record.local, record.local_port),
            remote: end(record.remote, record.remote_port),
            netns: record.netns,
        }
    }

    /// The record is of the same connection. Its family may change (IPV6_ADDRFORM).
    pub fn are_of(&self, record: &Holder) -> bool {
        self.remote.port == record.remote_port
            && self.local.port == record.local_port
            && self.remote.address == record.remote
            && self.local.address == record.local
            && self.netns == record.netns
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = if self.family == AF_INET6 {
            IpAddr::V6(Ipv6Addr::from(self.address)).to_canonical()
        } else {
            let [a, b, c, d, ..] = self.address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        };
        SocketAddr::new(ip, self.port).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        let mut mapped = [0u8; 16];
        mapped[10..12].copy_from_slice(&[0xff, 0xff]);
        mapped[12..].copy_from_slice(&[10, 0, 9, 1]);
        let mut v4 = [0u8; 16];
        v4[..4].copy_from_slice(&[10, 0, 9, 1]);
        let mut loopback = [0u8; 16];
        loopback[15] = 1;
        let shown = |family, address, port| Endpoint { family, address, port }.to_string();
        assert_eq!(shown(2, v4, 51234), "10.0.9.1:51234");
        assert_eq!(shown(AF_INET6, mapped, 443), "10.0.9.1:443");
        assert_eq!(shown(AF_INET6, loopback, 443), "[::1]:443");
    }
}
