//! An image of a container with a few static programs, as `docker save` writes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::run;
use crate::seconds;

/// Writes `image.tar` into `directory`: an image called `name` that holds the given files, each
/// with its path in the image, executable; it runs `command`.
///
/// # Panics
/// When it cannot be written.
pub fn build(directory: &Path, name: &str, files: &[(PathBuf, &str)], command: &[&str]) -> PathBuf {
    let root = directory.join("root");
    for (file, place) in files {
        let place = root.join(place.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
        fs::copy(file, &place).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    tar(directory, "layer.tar", &["-C", "root", "."]);
    let layer = run(Command::new("sha256sum").arg(directory.join("layer.tar")), seconds(30)).stdout;
    let layer = layer.split_whitespace().next().expect("a digest");
    let write = |file: &str, json: serde_json::Value| {
        fs::write(directory.join(file), json.to_string()).expect("a file");
    };
    write(
        "config.json",
        serde_json::json!({"architecture": architecture(), "os": "linux", "config": {"Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]}, "history": [{}]}),
    );
    write("manifest.json", serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]));
    tar(directory, "image.tar", &["manifest.json", "config.json", "layer.tar"]);
    directory.join("image.tar")
}

fn tar(directory: &Path, archive: &str, what: &[&str]) {
    let mut tar = Command::new("tar");
    tar.current_dir(directory).args(["--owner=0", "--group=0", "-cf", archive]).args(what);
    let output = run(&mut tar, seconds(30));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

/// As images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
