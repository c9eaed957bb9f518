// The page at /. Names come from programs that may be hostile: they become text, and never markup.
"use strict";
const REFRESH_MS = 5000;
const HISTORY_MS = 3600 * 1000;
const byId = (id) => document.getElementById(id);
const history = new Map(); // site -> [time, sockets] of the last hour, since this page was opened
const open = new Set();
const pointed = new Set(); // shown once, so that what was closed stays closed
let report = { sites: [] };
// #SITE opens a site: alerts and people can point to it.
const wanted = decodeURIComponent(location.hash.slice(1));

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const key = (site) => [site.kind, site.site, site.processes[0]?.exe].join(" ");

function human(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [unit, size] = units.find(([, size]) => seconds >= size) || units[3];
  return `${Math.floor(seconds / size)} ${unit}`;
}

const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

function who(process) {
  if (!process) return "holder unknown";
  const place = process.container;
  const pod = place ? [place.namespace, place.pod, place.name || place.id.slice(0, 12)].filter(Boolean).join("/") + " " : "";
  return `${pod}${process.comm}[${process.pid}]`;
}

function remember(sites, now) {
  const present = new Map(sites.map((site) => [key(site), site.sockets]));
  for (const one of new Set([...history.keys(), ...present.keys()])) {
    const points = (history.get(one) || []).filter(([time]) => now - time < HISTORY_MS);
    points.push([now, present.get(one) || 0]);
    if (points.some(([, sockets]) => sockets > 0)) history.set(one, points);
    else history.delete(one);
  }
}

function sparkline(site) {
  const points = history.get(key(site)) || [];
  const most = Math.max(1, ...points.map(([, sockets]) => sockets));
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
  const x = (time) => (last > first ? (100 * (time - first)) / (last - first) : 0);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `sockets since this page was opened: ${points[0]?.[1] ?? 0}, now ${site.sockets}`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.map(([time, n]) => `${x(time).toFixed(1)},${(19 - (18 * n) / most).toFixed(1)}`).join(" "));
  svg.append(line);
  return svg;
}

function path(title, stack) {
  const box = element("section");
  box.append(element("h2", title));
  if (!stack || stack.length === 0) {
    box.append(element("p", "not seen", "dim"));
    return box;
  }
  const list = element("ol");
  for (const frame of stack) {
    const where = frame.file ? `${frame.file}:${frame.line ?? "?"}` : frame.module ? `${frame.module}+${frame.offset}` : "";
    const item = element("li", frame.function || "?");
    item.append(element("span", ` ${where}`, "dim"));
    list.append(item);
  }
  box.append(list);
  return box;
}

function body(site) {
  const box = element("div", undefined, "body");
  box.append(element("p", site.why), element("p", site.fix));
  const touched = site.touched ? `last touched by ${site.touched.call}` : "last touched";
  const usual = site.usual_close ? `usually closed (${count(site.usual_close.sockets, "socket")})` : "usually closed";
  const paths = element("div", undefined, "paths");
  paths.append(
    path(site.opened ? `opened by ${site.opened.call}` : "opened", site.opened?.stack),
    path(touched, site.touched?.stack),
    path(usual, site.usual_close?.stack),
  );
  const closer = site.closed_elsewhere;
  if (closer) paths.append(path(`closed in vain by ${closer.comm}[${closer.pid}]`, closer.stack));
  box.append(paths, element("h2", "held by"));
  const holders = element("ul", undefined, "examples");
  for (const process of site.processes) {
    const fds = process.max_fds ? `, ${process.open_fds ?? "?"} of ${process.max_fds} descriptors` : "";
    const image = process.container?.image ? `, ${process.container.image}` : "";
    holders.append(element("li", `${who(process)} ${process.exe}, ${count(process.sockets, "socket")}${fds}${image}`));
  }
  box.append(holders);
  if (site.examples.length > 0) {
    box.append(element("h2", "for example"));
    const examples = element("ul", undefined, "examples");
    for (const socket of site.examples) {
      const fds = socket.holders.map((holder) => `${holder.comm}[${holder.pid}] fd ${holder.fd}`).join(", ");
      examples.append(element("li", `${socket.local} → ${socket.remote} ${socket.state}, ${human(socket.age_seconds)}, ${fds}`));
    }
    box.append(examples);
  }
  return box;
}

function row(site) {
  const box = element("details");
  const one = key(site);
  const summary = element("summary");
  const rate = `${site.per_minute >= 0 ? "+" : ""}${site.per_minute.toFixed(1)}/min`;
  summary.append(
    element("span", site.status, site.status),
    element("span", site.kind),
    element("span", count(site.sockets, "socket"), "number"),
    element("span", rate, "number"),
    element("span", human(site.oldest_seconds), "number"),
    sparkline(site),
    element("span", `${who(site.processes[0])} · site ${site.site}`),
  );
  box.append(summary);
  const show = () => {
    if (box.open && box.childElementCount === 1) box.append(body(site));
    if (box.open) open.add(one);
    else open.delete(one);
  };
  box.addEventListener("toggle", show);
  box.open = open.has(one) || (wanted === site.site && !pointed.has(one));
  pointed.add(one);
  if (box.open) show();
  box.dataset.key = one;
  return box;
}

function matches(site) {
  const text = byId("text").value.trim().toLowerCase();
  const wanted = [["kind", byId("kind").value], ["status", byId("status").value]];
  if (wanted.some(([field, value]) => value && site[field] !== value)) return false;
  if (!text) return true;
  const frames = [site.opened, site.touched].flatMap((touch) => (touch ? touch.stack : []));
  const words = site.processes.flatMap((process) => [who(process), process.exe]).concat(site.site, frames.map((frame) => frame.function || ""));
  return words.some((word) => word.toLowerCase().includes(text));
}

function draw() {
  const order = byId("order").value;
  const shown = report.sites.filter(matches).sort((a, b) => (a.status !== b.status ? (a.status === "leaking" ? -1 : 1) : b[order] - a[order]));
  const focused = document.activeElement?.closest?.("details")?.dataset.key;
  const rows = shown.map(row);
  byId("sites").replaceChildren(...(rows.length > 0 ? rows : [element("p", report.sites.length > 0 ? "Nothing fits the filter." : "No socket lingers.", "dim")]));
  rows.find((made) => made.dataset.key === focused)?.firstElementChild.focus();
  byId("state").textContent = `${count(report.sites.length, "site")}, ${report.sites.filter((site) => site.status === "leaking").length} leaking${report.complete ? "" : "; counts may be too low"}`;
}

async function refresh() {
  try {
    const answer = await fetch("/api/v1/leaks", { cache: "no-store" });
    if (!answer.ok) throw new Error(`the agent answers ${answer.status}`);
    report = await answer.json();
    remember(report.sites, Date.now());
    byId("host").textContent = `${report.host} · Linux ${report.kernel}`;
    const kinds = new Set([...byId("kind").options].map((option) => option.value));
    for (const kind of new Set(report.sites.map((site) => site.kind))) if (!kinds.has(kind)) byId("kind").append(element("option", kind));
    draw();
  } catch (error) {
    byId("state").textContent = `no contact with the agent: ${error.message}`;
  }
  setTimeout(refresh, REFRESH_MS);
}

byId("filters").addEventListener("input", draw);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
refresh();
