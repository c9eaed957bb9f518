use std::fs;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::passwords::Outcome;
use super::*;

/// Of `secret`, as cheap as bcrypt allows.
fn hash() -> String {
    bcrypt::hash("secret", 4).unwrap()
}

fn read(text: &str) -> Result<Access, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yml");
    fs::write(&file, text).unwrap();
    let place = directory.path().display().to_string();
    Access::read(&file).map_err(|error| error.to_string().replace(&format!("{place}/"), ""))
}

fn with(credentials: &str) -> HeaderMap {
    let value = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
}

#[test]
fn an_empty_file_asks_for_nothing() {
    for text in ["", "# nothing\n", "{}", "http_server_config: {http2: false}"] {
        let access = read(text).unwrap();
        assert!(access.tls.is_none() && access.passwords.is_none() && !access.authenticates(), "{text}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_in_one_line() {
    let cases = [
        ("rate_limit: {interval: 1s}", "web.yml: unknown field `rate_limit`"),
        ("http_server_config: {headers: {}}", "web.yml: http_server_config: unknown field `headers`"),
        ("tls_server_config: {cert_file: a}", "web.yml: tls_server_config: missing field `key_file`"),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}",
            "web.yml: tls_server_config.client_auth_type: unknown variant `RequireAnyClientCert`",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}",
            "web.yml: tls_server_config.min_version",
        ),
        ("tls_server_config: {cert_file: a, key_file: b}", "a: no certificates: "),
        ("basic_auth_users: {alice: secret}", "web.yml: basic_auth_users: alice: no bcrypt hash"),
        ("- a list", "web.yml: invalid type"),
    ];
    for (text, expected) in cases {
        let error = read(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(error.starts_with(expected), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(Access::read(Path::new("/nonexistent/web.yml")).is_err());
}

#[tokio::test]
async fn only_a_user_with_the_right_password_gets_in() {
    let access = read(&format!("basic_auth_users: {{alice: {}}}", hash())).unwrap();
    assert!(access.authenticates());
    let passwords = access.passwords.unwrap();
    for _ in 0..2 {
        assert_eq!(passwords.check(&with("alice:secret")).await, Outcome::Right);
        for wrong in ["alice:", "alice:Secret", "bob:secret", ":secret", "alice", "alice:secret:", ""] {
            assert_eq!(passwords.check(&with(wrong)).await, Outcome::Wrong, "{wrong}");
        }
    }
    assert_eq!(passwords.check(&HeaderMap::new()).await, Outcome::Wrong);
    for header in ["Bearer abc", "Basic", "Basic %%%", "basic"] {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
        assert_eq!(passwords.check(&headers).await, Outcome::Wrong, "{header}");
    }
}
