//! The image that `deploy/Containerfile` makes, on a Debian that setup has made.

use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::host::{on_kernel, root, tlsclose, tool};
use tlsclose_tests::machine::debian;

use crate::done;

/// Images and containers of a test's own.
struct Store {
    directory: TempDir,
}

impl Store {
    fn buildah(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(tool("buildah"));
        command.arg("--root").arg(self.directory.path().join("root"));
        command.arg("--runroot").arg(self.directory.path().join("run"));
        let output = done(command.args(["--storage-driver", "vfs"]).args(arguments));
        output.stdout.trim().to_owned()
    }
}

#[test]
fn the_containerfile_makes_an_image_whose_agent_starts() {
    if !on_kernel(&["buildah", "mmdebstrap"]) {
        return;
    }
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
    let container = store.buildah(&["from", "--pull-never", "localhost/tlsclose"]);
    let inside = |arguments: &[&str]| {
        store.buildah(&[&["run", "--isolation", "chroot", &container, "--", "/usr/bin/tlsclose"], arguments].concat())
    };
    assert_eq!(inside(&["--version"]), done(Command::new(tlsclose()).arg("--version")).stdout.trim());
    assert!(inside(&["agent", "--help"]).contains("--web.listen-address"));
}
