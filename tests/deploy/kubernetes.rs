//! The manifests, against the schemas of Kubernetes.

use std::process::Command;

use tlsclose_tests::child::{Output, run};
use tlsclose_tests::host::root;
use tlsclose_tests::seconds;

use crate::{installed, read};

const MANIFEST: &str = "deploy/kubernetes/daemonset.yaml";

/// What Kubernetes says of a file of manifests.
pub fn validate(file: &std::path::Path) -> Output {
    let mut validate = Command::new(installed("kubernetes-validate-1.31.0/bin/kubernetes-validate"));
    run(validate.args(["--strict", "--kubernetes-version", "1.31"]).arg(file), seconds(60))
}

#[test]
fn kubernetes_knows_every_field_of_the_manifests() {
    let output = validate(&root().join(MANIFEST));
    let said = output.stdout + &output.stderr;
    assert_eq!((output.code, said.matches(" passed ").count()), (Some(0), 2), "{said}");
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_noticed() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("wrong.yaml");
    std::fs::write(&file, read(MANIFEST).replace("hostPID: true", "hostPid: true")).expect("a file");
    let output = validate(&file);
    assert_ne!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
}

#[test]
fn the_manifest_and_the_unit_give_the_same_capabilities() {
    let (manifest, unit) = (read(MANIFEST), read("deploy/systemd/tlsclose.service"));
    let added = manifest.split_once("add:\n").expect("capabilities").1.lines().map(str::trim);
    let added: Vec<String> =
        added.map_while(|line| Some(format!("CAP_{}", line.strip_prefix("- ")?.split(' ').next()?))).collect();
    let bounded = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a set");
    assert_eq!(added, bounded.split(' ').collect::<Vec<_>>());
}
