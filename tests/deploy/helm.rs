//! The chart: what it renders, against the manifests and the schemas.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::child::{Output, run};
use tlsclose_tests::host::{root, tool};
use tlsclose_tests::seconds;

use crate::kubernetes::validate;
use crate::{installed, read};

const CHART: &str = "deploy/helm/tlsclose";

/// Every value that templates ask for, away from its default.
const EVERYTHING: &str = "
image: {repository: registry.example/tlsclose, tag: v1, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
port: 9999
extraArgs: [--leak-after=5m, --web.config.file=/etc/web/web.yml]
config: |
  [[rule]]
  comm = \"pooler\"
  ignore = true
oldKernels: true
podMonitor:
  enabled: true
  labels: {release: prometheus}
  interval: 30s
  scrapeTimeout: 10s
  scheme: https
  tlsConfig: {serverName: tlsclose, ca: {secret: {name: scrape, key: ca.crt}}, keySecret: {name: scrape, key: tls.key}}
  basicAuth: {username: {name: scrape, key: user}, password: {name: scrape, key: password}}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: kubernetes.io/arch, operator: In, values: [amd64]}]}]}}}
podLabels: {team: network}
podAnnotations: {example.com/a: b}
extraVolumes: [{name: web, secret: {secretName: web}}]
extraVolumeMounts: [{name: web, mountPath: /etc/web, readOnly: true}]
livenessProbe: {periodSeconds: 20}
readinessProbe: {httpGet: {httpHeaders: [{name: Authorization, value: Basic eDp5}]}}
";

/// The release whose schemas the manifests are tested with.
const KUBERNETES: &str = "v1.31.0";

fn try_render(release: &str, values: &str, kubernetes: &str) -> Output {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("values.yaml");
    std::fs::write(&file, values).expect("a file");
    let mut go = Command::new(tool("go"));
    go.args(["run", "render.go"]).arg(root().join(CHART)).args([release, "monitoring"]).arg(&file).arg(kubernetes);
    go.current_dir(root().join("tests/deploy/helm")).env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    go.env("CGO_ENABLED", "0").env("GOCACHE", root().join("target/leaky/go-cache"));
    run(&mut go, seconds(180))
}

/// The documents that are made of the chart, by kind.
fn render(release: &str, values: &str) -> Vec<(String, Value, String)> {
    render_for(KUBERNETES, release, values)
}

fn render_for(kubernetes: &str, release: &str, values: &str) -> Vec<(String, Value, String)> {
    let output = try_render(release, values, kubernetes);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let documents = output.stdout.split("---\n# Source: ").skip(1).map(|text| text.split_once('\n').expect("a name").1);
    documents
        .map(|text| {
            let value: Value = serde_norway::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
            (value["kind"].as_str().expect("a kind").to_owned(), value, text.to_owned())
        })
        .collect()
}

fn of_kind(documents: &[(String, Value, String)], kind: &str) -> Value {
    let found = documents.iter().find(|(one, ..)| one == kind);
    found.unwrap_or_else(|| panic!("no {kind}")).1.clone()
}

#[test]
fn by_default_the_chart_runs_what_the_manifest_runs() {
    let documents = render("tlsclose", "{}");
    let kinds: Vec<&str> = documents.iter().map(|(kind, ..)| &**kind).collect();
    assert_eq!(kinds, ["DaemonSet"], "no role, no account, nothing that needs the operator");
    let manifest = read("deploy/kubernetes/daemonset.yaml");
    let manifest = manifest.split("\n---\n").last().expect("a document");
    let manifest: Value = serde_norway::from_str(manifest).expect("YAML");
    let chart = of_kind(&documents, "DaemonSet");
    for part in ["/spec/template/spec", "/spec/updateStrategy"] {
        assert_eq!(chart.pointer(part).expect(part), manifest.pointer(part).expect(part), "{part}");
    }
    assert_eq!(chart["metadata"]["namespace"], "monitoring");
}

#[test]
fn kubernetes_knows_every_field_of_what_the_chart_renders() {
    let directory = TempDir::new().expect("a directory");
    for values in ["{}", EVERYTHING] {
        for (kind, _, text) in render("other", values).iter().filter(|(kind, ..)| kind != "PodMonitor") {
            let file = directory.path().join("rendered.yaml");
            std::fs::write(&file, text).expect("a file");
            let output = validate(&file);
            assert_eq!(output.code, Some(0), "{kind}: {}{}\n{text}", output.stdout, output.stderr);
        }
    }
}

#[test]
fn what_is_set_gets_to_its_place() {
    let documents = render("other", EVERYTHING);
    let agent = of_kind(&documents, "DaemonSet");
    assert_eq!(agent["metadata"]["name"], "other-tlsclose");
    let pod = &agent["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["team"], "network");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/tlsclose:v1");
    let arguments: Vec<&str> = container["args"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(
        arguments,
        [
            "agent",
            "--web.listen-address=:9999",
            "--config=/etc/tlsclose/rules.toml",
            "--leak-after=5m",
            "--web.config.file=/etc/web/web.yml"
        ]
    );
    let capabilities = &container["securityContext"]["capabilities"]["add"];
    assert!(capabilities.as_array().expect("a list").contains(&"SYS_RESOURCE".into()));
    let rules = of_kind(&documents, "ConfigMap");
    assert_eq!(rules["data"]["rules.toml"], "[[rule]]\ncomm = \"pooler\"\nignore = true\n");
    assert_eq!(rules["metadata"]["name"], pod["spec"]["volumes"][2]["configMap"]["name"]);
    let sum = &pod["metadata"]["annotations"]["checksum/config"];
    let changed = of_kind(&render("other", "config: ignored = 1"), "DaemonSet");
    assert_ne!(sum, &changed["spec"]["template"]["metadata"]["annotations"]["checksum/config"]);
}

/// The Prometheus operator's answer.
fn monitor(monitor: &Value) -> Result<(), String> {
    let package = "prometheus-operator-6.0.0/node_modules/@kubernetes-models/prometheus-operator";
    let package = installed(&format!("{package}/package.json")).with_file_name("");
    let mut node = Command::new(tool("node"));
    node.arg(root().join("tests/deploy/helm/podmonitor.mjs")).arg(package);
    let mut node = node.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("node runs");
    let mut input = node.stdin.take().expect("a pipe");
    input.write_all(monitor.to_string().as_bytes()).expect("it reads");
    drop(input);
    let output = node.wait_with_output().expect("an end");
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_operator_takes_the_monitor_and_it_selects_the_pods() {
    let documents = render("other", EVERYTHING);
    let good = of_kind(&documents, "PodMonitor");
    assert_eq!(monitor(&good), Ok(()));
    for (place, wrong) in [
        ("honorLabels", "yes".into()),
        ("honourLabels", true.into()),
        ("relabelings", Value::from(1)),
        ("scheme", "ftp".into()),
        ("tlsConfig", "insecure".into()),
    ] {
        let mut bad = good.clone();
        bad["spec"]["podMetricsEndpoints"][0][place] = wrong;
        assert!(monitor(&bad).is_err_and(|said| said.contains(place)), "{place} is taken");
    }
    let agent = of_kind(&documents, "DaemonSet");
    let labels = agent["spec"]["template"]["metadata"]["labels"].as_object().expect("labels");
    for selector in [&good["spec"]["selector"]["matchLabels"], &agent["spec"]["selector"]["matchLabels"]] {
        for (name, value) in selector.as_object().expect("labels") {
            assert_eq!(labels.get(name), Some(value), "{name}");
        }
    }
    let port = &agent["spec"]["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!(
        (&port["name"], &port["containerPort"]),
        (&good["spec"]["podMetricsEndpoints"][0]["port"], &9999.into())
    );
    assert_eq!(good["metadata"]["labels"]["release"], "prometheus");
    let endpoint = &good["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["scheme"], "https");
    assert_eq!(endpoint["tlsConfig"]["ca"]["secret"]["name"], "scrape");
    assert_eq!(endpoint["basicAuth"]["password"]["key"], "password");
}

#[test]
fn probes_ask_as_prometheus_does_unless_they_say_otherwise() {
    let probe = |values: &str, name: &str| {
        let agent = of_kind(&render("tlsclose", values), "DaemonSet");
        agent["spec"]["template"]["spec"]["containers"][0][name].clone()
    };
    for (values, scheme) in [
        ("{}", Value::Null),
        ("podMonitor: {scheme: https}", "HTTPS".into()),
        ("podMonitor: {scheme: HTTPS, enabled: true}", "HTTPS".into()),
        ("{podMonitor: {scheme: https}, livenessProbe: {httpGet: {scheme: HTTP}}}", "HTTP".into()),
    ] {
        let liveness = probe(values, "livenessProbe");
        assert_eq!((&liveness["httpGet"]["scheme"], &liveness["httpGet"]["path"]), (&scheme, &"/healthz".into()));
    }
    let readiness = probe(EVERYTHING, "readinessProbe");
    assert_eq!((&readiness["httpGet"]["scheme"], &readiness["httpGet"]["path"]), (&"HTTPS".into(), &"/readyz".into()));
    assert_eq!(readiness["httpGet"]["httpHeaders"][0]["name"], "Authorization");
    let connecting = "{podMonitor: {scheme: https}, livenessProbe: {httpGet: null, tcpSocket: {port: metrics}}}";
    let connecting = probe(connecting, "livenessProbe");
    assert_eq!((connecting.get("httpGet"), &connecting["tcpSocket"]["port"]), (None, &"metrics".into()));
}

#[test]
fn app_armor_lets_it_look_in_whatever_the_cluster_calls_that() {
    for (kubernetes, has_field) in
        [("v1.24.0", false), ("v1.29.9-gke.1", false), ("v1.30.0-eks-1", true), (KUBERNETES, true)]
    {
        let agent = of_kind(&render_for(kubernetes, "tlsclose", "{}"), "DaemonSet");
        let pod = &agent["spec"]["template"];
        let field = &pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"]["type"];
        let annotation = &pod["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/agent"];
        let expected =
            if has_field { (&"Unconfined".into(), &Value::Null) } else { (&Value::Null, &"unconfined".into()) };
        assert_eq!((field, annotation), expected, "{kubernetes}");
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let chart: Value = serde_norway::from_str(&read(&format!("{CHART}/Chart.yaml"))).expect("YAML");
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
}
