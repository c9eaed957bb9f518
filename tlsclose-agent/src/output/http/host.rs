//! The Host header: a web page that points its own name at this address gets nothing (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::Uri;
use axum::http::header::{HOST, HeaderMap};

use super::ListenAddress;

/// The host that a request names, without its port: of an absolute target, else of the header.
pub fn of_request<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    uri.host().or_else(|| header.and_then(|value| value.to_str().ok()).map(without_port))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a client may call this host so: by address, as localhost, or by one of `names`.
pub fn allows(host: &str, names: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_address = host.parse::<Ipv4Addr>().is_ok() || bare.parse::<Ipv6Addr>().is_ok();
    let host = host.strip_suffix('.').unwrap_or(host);
    is_address || host.eq_ignore_ascii_case("localhost") || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// The names that TCP clients may use: of `--web.listen-address`, this host's own, and those
/// of `--web.allowed-host`.
pub fn known_names(listen: &ListenAddress, allowed: &[String]) -> Vec<String> {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    [listen.host.clone(), own].into_iter().chain(allowed.iter().cloned()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_known_names_are_allowed() {
        let names = ["node-7".to_owned(), "node-7.example".to_owned()];
        let cases = [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("[::1]", true),
            ("::1", true),
            ("localhost", true),
            ("LocalHost", true),
            ("localhost.", true),
            ("node-7", true),
            ("NODE-7.example", true),
            ("node-7.evil.example", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("", false),
            ("[evil]", false),
        ];
        for (host, expected) in cases {
            assert_eq!(allows(host, &names), expected, "{host}");
        }
    }

    #[test]
    fn the_listen_host_and_allowed_names_are_known_and_empty_ones_are_not() {
        let listen: ListenAddress = "node-9.example:9988".parse().unwrap();
        let names = known_names(&listen, &["metrics.example".to_owned(), String::new()]);
        assert!(allows("node-9.example", &names) && allows("metrics.example", &names));
        assert!(!names.contains(&String::new()));
    }

    #[test]
    fn the_host_is_read_from_target_and_header() {
        let cases = [
            ("/", &["node-7:9988"][..], Some("node-7")),
            ("/", &["node-7"], Some("node-7")),
            ("/", &["[::1]:9988"], Some("[::1]")),
            ("/", &["[::1]"], Some("[::1]")),
            ("/", &[], None),
            ("/", &["a", "b"], None),
            ("http://evil.example:1/", &["localhost"], Some("evil.example")),
        ];
        for (target, headers, expected) in cases {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append(HOST, header.parse().unwrap());
            }
            let uri: Uri = target.parse().unwrap();
            assert_eq!(of_request(&uri, &map), expected, "{target} {headers:?}");
        }
    }
}
