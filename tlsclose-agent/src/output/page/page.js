// The page at /. Names come from programs that may be hostile: they become text, and never markup.
"use strict";
const REFRESH_MS = 5000;
const byId = (id) => document.getElementById(id);
const rows = new Map(); // key of a site -> its row
let report = { sites: [] };
let wanted = pointedTo();

/** #SITE opens a site: alerts and people can point to it. */
function pointedTo() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // no site is called so
  }
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Sets a text only where it changes, so that nothing is read out twice. */
function write(where, text) {
  if (where.textContent !== text) where.textContent = text;
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

function sparkline() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
  return svg;
}

/** The line ends at the right edge, now; 100 units are an hour. */
function drawLine(svg, hour) {
  const counts = hour?.sockets ?? [];
  const most = Math.max(1, ...counts);
  const step = (hour?.step_seconds || 60) / 36;
  const point = (n, at) => `${Math.max(0, 100 - step * (counts.length - 1 - at)).toFixed(1)},${(19 - (18 * n) / most).toFixed(1)}`;
  const points = counts.map(point);
  // One count alone is a dot.
  if (points.length === 1) points.unshift(points[0].replace("100.0", "99.0"));
  svg.firstElementChild.setAttribute("points", points.join(" "));
  const now = counts.at(-1) ?? 0;
  svg.setAttribute("aria-label", `last hour: from ${counts[0] ?? 0} to ${count(now, "socket")}, at most ${Math.max(0, ...counts)}`);
}

function path(title, stack, whole) {
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
  if (whole === false) box.append(element("p", "… (cut)", "dim"));
  return box;
}

function list(box, title, lines) {
  if (lines.length === 0) return;
  const made = element("ul", undefined, "examples");
  made.append(...lines.map((line) => element("li", line)));
  box.append(element("h2", title), made);
}

const holders = (all) => all.map((holder) => `${holder.comm}[${holder.pid}] fd ${holder.fd}`).join(", ");

function body(site) {
  const box = element("div", undefined, "body");
  box.append(element("p", site.why), element("p", site.fix));
  const touched = site.touched ? `last touched by ${site.touched.call}` : "last touched";
  const usual = site.usual_close ? `usually closed (${count(site.usual_close.sockets, "socket")})` : "usually closed";
  const paths = element("div", undefined, "paths");
  paths.append(
    path(site.opened ? `opened by ${site.opened.call}` : "opened", site.opened?.stack, site.opened?.whole),
    path(touched, site.touched?.stack, site.touched?.whole),
    path(usual, site.usual_close?.stack, site.usual_close?.whole),
    ...(site.last_sent ?? []).map((sent) => path(`last sent by (${count(sent.sockets, "socket")})`, sent.stack, sent.whole)),
  );
  const closer = site.closed_elsewhere;
  if (closer) paths.append(path(`closed in vain by ${closer.comm}[${closer.pid}]`, closer.stack));
  const spin = site.spinning;
  if (spin) {
    const title = `spinning in thread ${spin.tid ?? "?"} of ${spin.pid}, ${spin.call} ${Math.round(spin.per_second)}/s`;
    paths.append(path(title, spin.stack));
  }
  box.append(paths);
  list(box, "held by", site.processes.map((process) => {
    const fds = process.max_fds ? `, ${process.open_fds ?? "?"} of ${process.max_fds} descriptors` : "";
    const image = process.container?.image ? `, ${process.container.image}` : "";
    return `${who(process)} ${process.exe}, ${count(process.sockets, "socket")}${fds}${image}`;
  }));
  list(box, "accept queues", (site.accept_queues ?? []).map((queue) =>
    `${queue.local} ${queue.length} of ${queue.limit}, ${queue.half_closed} given up by their peer, ${queue.syn_recv} in SYN_RECV, ${holders(queue.holders)}`));
  list(box, "for example", site.examples.map((socket) =>
    `${socket.local} → ${socket.remote} ${socket.state}, ${human(socket.age_seconds)}, ${holders(socket.holders) || "holder unknown"}`));
  return box;
}

function makeRow(site) {
  const box = element("details");
  const summary = element("summary");
  const cells = ["", "", "number", "number", "number"].map((name) => element("span", undefined, name));
  const line = sparkline();
  const last = element("span");
  summary.append(...cells, line, last);
  box.append(summary);
  const row = { box, summary, cells, line, last, site };
  box.addEventListener("toggle", () => fillBody(row));
  openIfWanted(row);
  return row;
}

function openIfWanted(row) {
  if (!wanted || wanted !== row.site.site) return;
  wanted = ""; // once, so that what was closed stays closed
  row.box.open = true;
  row.box.scrollIntoView({ block: "nearest" });
}

function fillBody(row) {
  while (row.box.childElementCount > 1) row.box.lastElementChild.remove();
  if (row.box.open) row.box.append(body(row.site));
}

function fill(row, site) {
  row.site = site;
  const growth = site.per_minute; // null until two censuses have shown the site
  const rate = growth === null ? "rate not known yet" : `${growth >= 0 ? "+" : ""}${growth.toFixed(1)}/min`;
  const age = `${site.age_is_minimum ? "≥ " : ""}${human(site.oldest_seconds)}`;
  [site.status, site.kind, count(site.sockets, "socket"), rate, age].forEach((text, at) => write(row.cells[at], text));
  row.cells[0].className = site.status;
  drawLine(row.line, site.last_hour);
  write(row.last, `${who(site.processes[0])} · site ${site.site}`);
  if (row.box.open) fillBody(row);
}

/** Why counts may be off. */
const INCOMPLETE = {
  sockets_lost: "sockets did not fit into the agent's tables",
  pid_namespace: "the agent is not in the host's PID namespace",
  accept_queue_not_walked: "an accept queue was too long to be looked through",
  accept_queue_cut: "an accept queue holds more given-up connections than are counted one by one",
  unheld_cut: "more sockets without a descriptor than are counted one by one",
  shared_not_told_apart: "some of very many shared sockets were counted once for each holder",
};

/** What a filter by name may choose from. */
const NAMES = {
  kind: (site) => [site.kind],
  namespace: (site) => site.processes.map((process) => process.container?.namespace),
  pod: (site) => site.processes.map((process) => process.container?.pod),
  process: (site) => site.processes.map((process) => process.comm),
};

function offer() {
  for (const [name, of] of Object.entries(NAMES)) {
    const select = byId(name);
    const known = new Set([...select.options].map((option) => option.value));
    const names = [...new Set(report.sites.flatMap(of))].filter((one) => one && !known.has(one)).sort();
    select.append(...names.map((one) => {
      const option = element("option", one);
      option.value = one;
      return option;
    }));
    select.disabled = select.options.length === 1;
  }
}

function matches(site) {
  for (const [name, of] of Object.entries(NAMES)) {
    const value = byId(name).value;
    if (value && !of(site).includes(value)) return false;
  }
  const status = byId("status").value;
  if (status && site.status !== status) return false;
  const text = byId("text").value.trim().toLowerCase();
  if (!text) return true;
  const frames = [site.opened, site.touched].flatMap((touch) => (touch ? touch.stack : []));
  const words = site.processes.flatMap((process) => [who(process), process.exe]).concat(site.site, site.kind, frames.map((frame) => frame.function || ""));
  return words.some((word) => word.toLowerCase().includes(text));
}

function draw() {
  const order = byId("order").value;
  const shown = report.sites.filter(matches).sort((a, b) => (a.status !== b.status ? (a.status === "leaking" ? -1 : 1) : b[order] - a[order]));
  const main = byId("sites");
  const focused = document.activeElement;
  const present = new Set(report.sites.map(key));
  for (const [one, row] of rows) {
    if (!present.has(one)) {
      row.box.remove();
      rows.delete(one);
    }
  }
  const kept = new Set();
  shown.forEach((site, at) => {
    const one = key(site);
    if (!rows.has(one)) rows.set(one, makeRow(site));
    const row = rows.get(one);
    fill(row, site);
    kept.add(row.box);
    if (main.children[at] !== row.box) main.insertBefore(row.box, main.children[at] ?? null);
  });
  for (const box of [...main.children]) if (!kept.has(box)) box.remove();
  // A row that moved has lost it.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus();
  byId("titles").hidden = shown.length === 0;
  write(byId("nothing"), shown.length > 0 ? "" : report.sites.length > 0 ? "Nothing fits the filter." : "No socket lingers.");
  const leaking = report.sites.filter((site) => site.status === "leaking").length;
  write(byId("state"), `${count(report.sites.length, "site")}, ${leaking} leaking${report.complete ? "" : `; counts may be off: ${report.incomplete.map((why) => INCOMPLETE[why] ?? why).join("; ")}`}`);
}

async function refresh() {
  try {
    // The address of the page may hold a password, with which nothing may be fetched.
    const answer = await fetch(new URL("/api/v1/leaks", location.origin), { cache: "no-store" });
    if (!answer.ok) throw new Error(`the agent answers ${answer.status}`);
    report = await answer.json();
    write(byId("host"), `${report.host} · Linux ${report.kernel}`);
    offer();
    // Somebody who copies a line wants it to stay.
    if (getSelection().isCollapsed) draw();
  } catch (error) {
    write(byId("state"), `no contact with the agent: ${error.message}`);
  }
  setTimeout(refresh, REFRESH_MS);
}

addEventListener("hashchange", () => {
  wanted = pointedTo();
  rows.forEach(openIfWanted);
});
byId("filters").addEventListener("input", draw);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
refresh();
