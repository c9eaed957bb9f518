//! The image that `deploy/Containerfile` makes, on a Debian that setup has made.

use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::child::Child;
use tlsclose_tests::host::{free_port, needs, root, tlsclose, tool};
use tlsclose_tests::http::Server;
use tlsclose_tests::machine::debian;
use tlsclose_tests::{rights, seconds, wait_for};

use crate::done;

/// Images and containers of a test's own.
struct Store {
    directory: TempDir,
}

impl Store {
    fn command(&self) -> Command {
        let mut command = Command::new(tool("buildah"));
        command.arg("--root").arg(self.directory.path().join("root"));
        command.arg("--runroot").arg(self.directory.path().join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    }

    fn buildah(&self, arguments: &[&str]) -> String {
        let output = done(self.command().args(arguments));
        output.stdout.trim().to_owned()
    }
}

#[test]
fn the_containerfile_makes_an_image_whose_agent_starts() {
    needs(&["buildah", "mmdebstrap"]);
    let store = Store { directory: TempDir::new().expect("a directory") };
    let base = store.buildah(&["from", "scratch"]);
    store.buildah(&["add", "--quiet", &base, debian().to_str().expect("UTF-8"), "/"]);
    store.buildah(&["commit", "--quiet", &base, "docker.io/library/debian:bookworm-slim"]);

    let (file, context) = (root().join("deploy/Containerfile"), root());
    let file = ["--file", file.to_str().expect("UTF-8"), "--tag", "tlsclose"];
    store.buildah(&[&["build", "--pull-never"], &file[..], &[context.to_str().expect("UTF-8")]].concat());

    let image = store.buildah(&["inspect", "--type", "image", "localhost/tlsclose"]);
    let image: serde_json::Value = serde_json::from_str(&image).expect("JSON");
    let config = &image["OCIv1"]["config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/tlsclose"]), "{config:#}");
    assert_eq!(config["Cmd"], serde_json::json!(["agent"]), "{config:#}");
    let container =
        store.buildah(&["from", "--pull-never", "--security-opt", "seccomp=unconfined", "localhost/tlsclose"]);
    let inside = |arguments: &[&str]| {
        store.buildah(&[&["run", "--isolation", "chroot", &container, "--", "/usr/bin/tlsclose"], arguments].concat())
    };
    assert_eq!(inside(&["--version"]), done(Command::new(tlsclose()).arg("--version")).stdout.trim());
    let port = free_port();
    let mut agent = store.command();
    agent.args(["run", "--isolation", "chroot"]);
    agent.args(rights::NUMBERS.iter().flat_map(|(right, _)| ["--cap-add", right]));
    agent.args([&container, "--", "/usr/bin/tlsclose", "agent"]);
    let mut agent = Child::spawn(agent.args(["--web.listen-address", &format!("127.0.0.1:{port}")]));
    let ready = wait_for("the agent in the image", seconds(30), || {
        assert!(agent.try_wait().is_none(), "it ended: {}", agent.stderr());
        Server::Tcp(port).get("/readyz").ok().filter(|answer| answer.status == 200)
    });
    assert!(ready.body.contains("ready"), "{}", ready.body);
}
