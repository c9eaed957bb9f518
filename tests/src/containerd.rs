//! A containerd of the test's own, with its pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{Child, run};
use crate::cri::{Cri, Pod, Privileges, Running};
use crate::host::{leaky_c_static, tlsclose, tool, unique_comm};
use crate::netns::Netns;
use crate::{image, seconds, wait_for};

const IMAGE: &str = "localhost/tlsclose-test:1";

/// Dropping it removes its pods, ends it and takes its cgroups away.
pub struct Containerd {
    daemon: Child,
    pods: Vec<Running>,
    /// The program that leaks, by its path in the image.
    program: String,
    cgroup: String,
    directory: TempDir,
}

impl Containerd {
    /// Pods run in the network namespace. Their image holds busybox, the leaking programs and the agent.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(namespace: &Netns) -> Containerd {
        let directory = TempDir::new().expect("a temporary directory");
        let name = unique_comm();
        let program = format!("/srv/{name}");
        let busybox = ["/bin/busybox", "sleep", "300"];
        let agent = with_libraries(&tlsclose());
        let mut files = vec![(leaky_c_static(), &*program), (tool("busybox"), "/bin/busybox")];
        files.extend(agent.iter().map(|(file, place)| (file.clone(), &**place)));
        let image = image::build(directory.path(), IMAGE, &files, &busybox);
        let at = |place: &str| directory.path().join(place);
        let configuration = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\n\
             [grpc]\naddress = '{}'\n\
             [plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = '{IMAGE}'\ndisable_apparmor = true\nrestrict_oom_score_adj = true\n\
             [plugins.'io.containerd.grpc.v1.cri'.cni]\nconf_dir = '{}'\n\
             [plugins.'io.containerd.internal.v1.opt']\npath = '{}'\n",
            at("root-of-containerd").display(),
            at("state").display(),
            at("containerd.sock").display(),
            at("cni").display(),
            at("opt").display(),
        );
        fs::write(at("config.toml"), configuration).expect("a configuration");
        let mut daemon = namespace.command(tool("containerd"));
        let daemon = Child::spawn(daemon.arg("--config").arg(at("config.toml")));
        let containerd =
            Containerd { daemon, pods: Vec::new(), program, cgroup: format!("/tlsclose-{name}/kubepods"), directory };
        wait_for("containerd", seconds(30), || {
            let import = ["--namespace", "k8s.io", "images", "import"];
            let output = run(containerd.ctr().args(import).arg(&image), seconds(30));
            (output.code == Some(0)).then_some(())
        });
        let cri = containerd.cri();
        wait_for("the image", seconds(30), || cri.has_image(IMAGE).then_some(()));
        containerd
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("containerd.sock")
    }

    /// The leaking program, as a process in a pod sees it.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Runs the leaking program in a pod with a container called `app`. Gives the container's id.
    pub fn run(&mut self, namespace: &str, pod: &str, arguments: &[&str]) -> String {
        let command: Vec<&str> = std::iter::once(&*self.program).chain(arguments.iter().copied()).collect();
        let running = self.cri().run(&Pod { command: &command, ..self.pod(namespace, pod) });
        let id = running.container.clone();
        self.pods.push(running);
        id
    }

    /// Runs the agent in a pod.
    pub fn run_agent(&mut self, pod: &str, privileges: &Privileges, arguments: &[&str]) {
        let command: Vec<&str> = std::iter::once("/usr/bin/tlsclose").chain(arguments.iter().copied()).collect();
        let pod = Pod { command: &command, privileges: Some(privileges), ..self.pod("tlsclose", pod) };
        let running = self.cri().run(&pod);
        self.pods.push(running);
    }

    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Pod<'a> {
        let logs = self.directory.path();
        let cgroup = &self.cgroup;
        Pod { namespace, name, container: "app", image: IMAGE, command: &[], cgroup, logs, privileges: None }
    }

    /// What the pod's container wrote, each line with the time and the stream before it.
    pub fn log(&self, pod: &str) -> String {
        fs::read_to_string(self.directory.path().join(format!("{pod}.log"))).unwrap_or_default()
    }

    /// Hangs, and answers nobody, until it is told to go on.
    pub fn hang(&self) {
        self.daemon.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.daemon.signal(Signal::CONT);
    }

    fn cri(&self) -> Cri {
        Cri::new(&self.socket())
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new(tool("ctr"));
        ctr.arg("--address").arg(self.socket());
        ctr
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.go_on();
        let cri = self.cri();
        for pod in &self.pods {
            cri.remove(pod);
        }
        remove_cgroups(Path::new("/sys/fs/cgroup"), &self.cgroup);
    }
}

/// A program, and the libraries that it is linked to, each with its place.
fn with_libraries(program: &Path) -> Vec<(PathBuf, String)> {
    let linked = run(Command::new("ldd").arg(program), seconds(10)).stdout;
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    let all = libraries.map(|library| (PathBuf::from(library), library.to_owned()));
    all.chain([(program.to_owned(), "/usr/bin/tlsclose".to_owned())]).collect()
}

/// In every hierarchy: version 2 has one, version 1 one for each controller.
fn remove_cgroups(hierarchies: &Path, cgroup: &str) {
    let top = cgroup.trim_start_matches('/').split('/').next().expect("a name");
    let each = fs::read_dir(hierarchies).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in each.chain([hierarchies.to_owned()]) {
        remove_tree(&hierarchy.join(top));
    }
}

/// Its processes take a moment to leave it.
pub(crate) fn remove_when_left(cgroup: &Path) {
    for _ in 0..50 {
        remove_tree(cgroup);
        if !cgroup.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The files of a cgroup go with it.
fn remove_tree(cgroup: &Path) {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    // It is not in every hierarchy.
    let _ = fs::remove_dir(cgroup);
}
