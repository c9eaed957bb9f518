//! The agent's pod, as `deploy/kubernetes/daemonset.yaml` describes it.

use std::path::Path;

use serde_json::Value;

use crate::cri::{Mounted, Privileges};
use crate::host::root;
use crate::report::list;

const FILE: &str = "deploy/kubernetes/daemonset.yaml";

pub struct Manifest {
    pod: Value,
}

impl Manifest {
    /// # Panics
    /// When the file is not as expected.
    pub fn of_agent() -> Manifest {
        let text = std::fs::read_to_string(root().join(FILE)).expect(FILE);
        let all = text.split("\n---\n").map(|text| serde_norway::from_str::<Value>(text).expect("YAML"));
        let mut daemons = all.filter(|object| object["kind"] == "DaemonSet");
        let daemon = daemons.next().expect("a DaemonSet");
        let pod = daemon["spec"]["template"]["spec"].clone();
        assert_eq!(list(&pod["containers"]).count(), 1, "{pod:#}");
        Manifest { pod }
    }

    fn container(&self) -> &Value {
        &self.pod["containers"][0]
    }

    /// What the container is started with, after its image's own command.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        list(&self.container()["args"]).filter_map(Value::as_str)
    }

    /// Port and paths that the kubelet asks.
    pub fn probes(&self) -> (u64, [&str; 2]) {
        let container = self.container();
        let port = &container["ports"][0];
        let asked = ["livenessProbe", "readinessProbe"].map(|probe| {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["port"], port["name"], "{get}");
            get["path"].as_str().expect("a path")
        });
        (port["containerPort"].as_u64().expect("a port"), asked)
    }

    /// What the container may do, with `shared` in place of its directory in memory.
    pub fn privileges(&self, shared: &Path) -> Privileges {
        let (container, context) = (self.container(), &self.container()["securityContext"]);
        assert_eq!(self.pod["hostPID"], true);
        assert_eq!((&context["privileged"], &context["runAsUser"]), (&false.into(), &0.into()));
        assert_eq!(context["seccompProfile"]["type"], "Unconfined");
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
        let mounted = |mount: &Value| {
            let volume = list(&self.pod["volumes"]).find(|volume| volume["name"] == mount["name"]).expect("its volume");
            let host = volume["hostPath"]["path"].as_str().map_or(shared, Path::new).to_owned();
            let container = mount["mountPath"].as_str().expect("a place").to_owned();
            Mounted { container, host, read_only: mount["readOnly"] == true }
        };
        let memory = container["resources"]["limits"]["memory"].as_str().and_then(|limit| limit.strip_suffix("Mi"));
        Privileges {
            capabilities: list(&context["capabilities"]["add"]).filter_map(Value::as_str).map(str::to_owned).collect(),
            mounts: list(&container["volumeMounts"]).map(mounted).collect(),
            memory: memory.and_then(|mib| mib.parse::<i64>().ok()).expect("a limit of memory") << 20,
            read_only_root: context["readOnlyRootFilesystem"] == true,
            no_new_privileges: context["allowPrivilegeEscalation"] == false,
        }
    }
}
