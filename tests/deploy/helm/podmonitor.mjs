// Validates a PodMonitor (JSON, on standard input) against the schema of the Prometheus operator's CRD, and every field
// of it against the operator's types, because a CRD's schema lets unknown fields pass.
// The first argument is the directory of the package @kubernetes-models/prometheus-operator.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const place = process.argv[2];
const { PodMonitor } = await import(pathToFileURL(`${place}/monitoring.coreos.com/v1/PodMonitor.js`));
const monitor = JSON.parse(readFileSync(0, "utf8"));
new PodMonitor(monitor).validate();

function known(type) {
  const text = readFileSync(`${place}/monitoring.coreos.com/v1/${type}.d.ts`, "utf8");
  return new Set([...text.matchAll(/^\s*"(\w+)"\??:/gm)].map(([, field]) => field));
}
function check(value, type) {
  const fields = known(type);
  for (const field of Object.keys(value)) if (!fields.has(field)) throw new Error(`${type} has no field ${field}`);
}
check(monitor.spec, "PodMonitorSpec");
for (const endpoint of monitor.spec.podMetricsEndpoints) {
  check(endpoint, "PodMetricsEndpoint");
  check(endpoint.tlsConfig ?? {}, "SafeTLSConfig");
  check(endpoint.basicAuth ?? {}, "BasicAuth");
  for (const relabeling of endpoint.relabelings ?? []) check(relabeling, "RelabelConfig");
}
