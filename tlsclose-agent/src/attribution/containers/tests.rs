use super::cgroup::ContainerRuntime;
use super::*;
use tlsclose_core::model::Workload;

fn found(runtime: ContainerRuntime, id: &str) -> NestedContainer {
    NestedContainer { runtime, id: id.to_owned() }
}

fn labels(container: &Container) -> [String; 3] {
    let Workload { namespace, pod, container, .. } = Workload::new("app".to_owned(), Some(container));
    [namespace, pod, container]
}

#[test]
fn outside_of_containers_nothing_is_asked() {
    let mut containers = Containers::new(Path::new("/nonexistent"), None);
    assert_eq!(containers.of(&[]), Whereabouts::Host);
}

#[test]
fn a_name_that_people_chose_needs_no_runtime() {
    let mut containers = Containers::new(Path::new("/nonexistent"), None);
    let Whereabouts::In(container) = containers.of(&[found(ContainerRuntime::SystemdNspawn, "debian")]) else {
        panic!("asked for what is known");
    };
    assert_eq!((&*container.runtime, &*container.id, &*container.name), ("systemd-nspawn", "debian", "debian"));
    assert_eq!(labels(&container), ["", "", "debian"]);
}

#[test]
fn a_container_without_names_is_labelled_by_its_short_id() {
    let id = "3f4a1c0d9e8b7a6f5e4d3c2b1a09f8e7d6c5b4a392817f6e5d4c3b2a19087f6e";
    let bare = container(&found(ContainerRuntime::Docker, id), &Names::default());
    assert_eq!((&*bare.runtime, &*bare.id, &*bare.name), ("docker", id, ""));
    assert_eq!(labels(&bare), ["", "", "3f4a1c0d9e8b"]);
}

#[test]
fn names_of_the_runtime_become_labels() {
    let names = Names {
        runtime: "containerd".to_owned(),
        container: "api".to_owned(),
        pod: "payments-6d8".to_owned(),
        namespace: "shop".to_owned(),
        image: "shop/api:1".to_owned(),
    };
    let named = container(&found(ContainerRuntime::Unknown, "3f"), &names);
    assert_eq!((&*named.runtime, &*named.image), ("containerd", "shop/api:1"));
    assert_eq!(labels(&named), ["shop", "payments-6d8", "api"]);
    // The process that holds a pod's namespaces is in no container of the pod.
    let pause = container(&found(ContainerRuntime::Containerd, "3f"), &Names { container: String::new(), ..names });
    assert_eq!(labels(&pause), ["shop", "payments-6d8", ""]);
}
