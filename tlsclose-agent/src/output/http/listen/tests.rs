use super::*;

#[test]
fn addresses_are_read_and_shown_alike() {
    for text in ["127.0.0.1:9988", "[::1]:9988", ":9988", "node-7:80"] {
        let address: ListenAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
    }
    for text in ["", "9988", "::1:9988", "a:b", "a:99999", "a:"] {
        assert!(text.parse::<ListenAddress>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_says_what_to_do() {
    let first = tcp(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address: ListenAddress = first.local_addr().unwrap().to_string().parse().unwrap();
    let error = tcp(&address).unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on {address}: address in use: choose another with --web.listen-address"));
}

#[tokio::test]
async fn the_owners_socket_is_the_owners_alone_and_goes_with_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/agent.sock");
    let socket = OwnerSocket::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_an_answered_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let first = OwnerSocket::open(&path).unwrap();
    let error = OwnerSocket::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("an agent already answers there: stop it, or choose another with --socket"), "{error}");
    drop(first);
    fs::write(&path, "precious").unwrap();
    let error = OwnerSocket::open(&path).unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn the_file_of_another_agent_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let first = OwnerSocket::open(&path).unwrap();
    // The other file must exist before ours goes, else it may be given our inode's number.
    let other = directory.path().join("other.sock");
    let _second = OwnerSocket::open(&other).unwrap();
    fs::rename(&other, &path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x".repeat(120));
    let error = OwnerSocket::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("choose another with --socket") && !error.contains('\n'), "{error}");
}
