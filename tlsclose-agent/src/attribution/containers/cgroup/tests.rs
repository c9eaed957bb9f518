use proptest::prelude::*;

use super::*;

const A: &str = "3f4a1c0d9e8b7a6f5e4d3c2b1a09f8e7d6c5b4a392817f6e5d4c3b2a19087f6e";
const B: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// `A` and `B` stand for ids.
fn found(file: &str) -> Vec<(&'static str, String)> {
    let file = file.replace("{A}", A).replace("{B}", B);
    let known_to_runc = |id: &str| id == "web1";
    let all = containers(file.as_bytes(), known_to_runc).into_iter();
    all.map(|one| (one.runtime.name(), one.id.replace(A, "A").replace(B, "B"))).collect()
}

/// What stands in `/proc/PID/cgroup`, the runtime and the id.
const CASES: &[(&str, &str, &str)] = &[
    // Docker: cgroupfs and systemd, v1 and v2, rootless.
    ("1:name=systemd:/docker/{A}", "docker", "A"),
    ("0::/docker/{A}", "docker", "A"),
    ("0::/system.slice/docker-{A}.scope", "docker", "A"),
    ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", "docker", "A"),
    // Kubernetes with cri-dockerd.
    ("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0f_1.slice/docker-{A}.scope", "docker", "A"),
    // Kubernetes with containerd.
    (
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9_f.slice/cri-containerd-{A}.scope",
        "containerd",
        "A",
    ),
    ("11:memory:/kubepods.slice/kubepods-pod9_f.slice/cri-containerd-{A}.scope", "containerd", "A"),
    (
        "5:cpu,cpuacct:/system.slice/containerd.service/kubepods-burstable-pod9_f.slice:cri-containerd:{A}",
        "containerd",
        "A",
    ),
    ("0::/kubepods/burstable/pod9-f/{A}", "", "A"),
    ("0::/k8s.io/{A}", "containerd", "A"),
    ("0::/system.slice/nerdctl-{A}.scope", "containerd", "A"),
    // CRI-O.
    ("0::/kubepods.slice/kubepods-pod9_f.slice/crio-{A}.scope", "cri-o", "A"),
    ("0::/kubepods.slice/kubepods-pod9_f.slice/crio-{A}.scope/container", "cri-o", "A"),
    ("4:pids:/kubepods/pod9-f/crio-{A}", "cri-o", "A"),
    // Podman: root, rootless, cgroupfs.
    ("0::/machine.slice/libpod-{A}.scope/container", "podman", "A"),
    ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", "podman", "A"),
    ("3:memory:/libpod_parent/libpod-{A}", "podman", "A"),
    ("0::/machine.slice/libpod-{A}.scope/{A}", "podman", "A"),
    // systemd-nspawn, as a service and from a shell.
    ("0::/machine.slice/systemd-nspawn@debian.service/payload/system.slice/ssh.service", "systemd-nspawn", "debian"),
    ("0::/machine.slice/machine-my\\x2dbox.scope/payload", "systemd-nspawn", "my-box"),
    // LXC, and plain runc.
    ("0::/lxc.payload.web/system.slice", "lxc", "web"),
    ("2:memory:/lxc/web", "lxc", "web"),
    ("0::/system.slice/runc-web.scope", "runc", "web"),
    ("0::/web1", "runc", "web1"),
    ("6:freezer:/user.slice/web1", "runc", "web1"),
    // Seen from inside another container's cgroup namespace, and after the end of its own.
    ("0::/../../pod9_f.slice/cri-containerd-{A}.scope", "containerd", "A"),
    ("0::/../cri-containerd-{A}.scope/init", "containerd", "A"),
    ("0::/system.slice/docker-{A}.scope (deleted)", "docker", "A"),
    // Other parents.
    ("0::/actions_job/{A}", "", "A"),
    ("8:pids:/ecs/1234/{A}", "", "A"),
];

#[test]
fn containers_of_every_runtime_driver_and_version() {
    for (file, runtime, id) in CASES {
        assert_eq!(found(file), [(*runtime, (*id).to_owned())], "{file}");
    }
}

#[test]
fn what_is_no_container() {
    let files = [
        "",
        "0::/",
        "0::/system.slice/ssh.service",
        "0::/user.slice/user-1000.slice/session-3.scope",
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9_f.slice",
        // Monitors outlive what they watch, and hold none of its sockets.
        "0::/machine.slice/libpod-conmon-{A}.scope",
        "0::/system.slice/crio-conmon-{A}.scope",
        // A virtual machine.
        "0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator",
        // Not an id: too short, in capitals.
        "0::/docker/3f4a1c0d9e8b7a6f5e4d3c2b1a09f8e7",
        "0::/docker/{A}0",
        "0::/machine.slice/machine-.scope",
        "0::/machine.slice/machine-\\xzz.scope",
        "not a cgroup file",
        "0::",
    ];
    for file in files {
        assert_eq!(found(file), [], "{file}");
    }
    assert_eq!(containers(format!("0::/docker/{}", A.to_uppercase()).as_bytes(), |_| false), []);
}

#[test]
fn a_container_in_a_container_comes_last() {
    let docker_in_pod = "0::/kubepods/burstable/pod9-f/{A}/docker/{B}";
    assert_eq!(found(docker_in_pod), [("", "A".to_owned()), ("docker", "B".to_owned())]);
    let kind = "0::/docker/{A}/kubelet.slice/kubelet-kubepods-pod9.slice/cri-containerd-{B}.scope";
    assert_eq!(found(kind), [("docker", "A".to_owned()), ("containerd", "B".to_owned())]);
}

#[test]
fn the_hierarchy_that_shows_most_is_taken() {
    // Hybrid: the runtime uses version 1, systemd's own hierarchy or version 2 shows nothing.
    let hybrid = "12:pids:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/system.slice/containerd.service\n";
    assert_eq!(found(hybrid), [("docker", "A".to_owned())]);
    // The other way round, and controllers that differ.
    let unified =
        "4:memory:/process_api/3897221eb09f3a7fc6c5719dcb6c4d22\n2:cpuacct:/docker/{A}\n0::/docker/{A}/docker/{B}\n";
    assert_eq!(found(unified), [("docker", "A".to_owned()), ("docker", "B".to_owned())]);
}

proptest! {
    #[test]
    fn no_file_breaks_the_parser(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        containers(&file, |_| false);
    }

    #[test]
    fn no_path_breaks_the_parser(path in "[0-9]{1,2}:[a-z=,]{0,8}:(/(docker|machine-|\\\\x|lxc|runc-|:|[a-f0-9]{64}|\\.scope|é){0,4}){0,4}") {
        containers(path.as_bytes(), |_| true);
    }
}
