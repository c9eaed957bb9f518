//! From `/proc/PID/cgroup` to containers.
//!
//! A runtime puts the id of a container into the name of its cgroup. Nothing else of the path is
//! relied on: which parents it has depends on the cgroup driver, the cgroup version, the QoS class
//! and the cgroup namespace from which the file is read. What looks like a container but is its
//! monitor, or a virtual machine, is none.

use tlsclose_core::model::printable;

/// Who runs a container, as far as its cgroup tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerRuntime {
    Docker,
    Containerd,
    CriO,
    Podman,
    SystemdNspawn,
    Lxc,
    Runc,
    /// The cgroup is named by the bare id.
    Unknown,
}

impl ContainerRuntime {
    /// Empty when unknown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::SystemdNspawn => "systemd-nspawn",
            Self::Lxc => "lxc",
            Self::Runc => "runc",
            Self::Unknown => "",
        }
    }
}

/// A container that a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedContainer {
    pub runtime: ContainerRuntime,
    /// 64 hexadecimal digits, or the name where the runtime has no other id.
    pub id: String,
}

impl NestedContainer {
    /// The id was chosen by people.
    pub fn is_named(&self) -> bool {
        matches!(self.runtime, ContainerRuntime::SystemdNspawn | ContainerRuntime::Lxc | ContainerRuntime::Runc)
    }
}

/// Names of cgroups that end in an id of 64 hexadecimal digits: `PREFIX-ID.scope` under systemd's
/// driver, `PREFIX-ID` or the id alone under the other.
const PREFIXES: [(&str, ContainerRuntime); 5] = [
    ("docker", ContainerRuntime::Docker),
    ("cri-containerd", ContainerRuntime::Containerd),
    ("nerdctl", ContainerRuntime::Containerd),
    ("crio", ContainerRuntime::CriO),
    ("libpod", ContainerRuntime::Podman),
];

/// The containers of a process, the outermost first: from the hierarchy that shows most of them.
///
/// `is_runc` says whether runc knows a container by this id: plain runc names a cgroup by the id
/// alone, and that can be any word.
pub fn containers(file: &[u8], is_runc: impl Fn(&str) -> bool) -> Vec<NestedContainer> {
    let text = String::from_utf8_lossy(file);
    let mut most = Vec::new();
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let found = in_path(path, &is_runc);
        if found.len() > most.len() {
            most = found;
        }
    }
    most
}

fn in_path(path: &str, is_runc: &impl Fn(&str) -> bool) -> Vec<NestedContainer> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut found: Vec<NestedContainer> = Vec::new();
    let mut parent = "";
    for part in path.split('/').filter(|part| !matches!(*part, "" | "." | "..")) {
        // A runtime may repeat the id below: `libpod-ID.scope/ID`.
        if let Some(one) =
            in_part(parent, part, is_runc).filter(|one| found.last().is_none_or(|last| last.id != one.id))
        {
            found.push(one);
        }
        parent = part;
    }
    found
}

fn in_part(parent: &str, part: &str, is_runc: &impl Fn(&str) -> bool) -> Option<NestedContainer> {
    let found = |runtime, id: &str| Some(NestedContainer { runtime, id: printable(id.as_bytes()) });
    // systemd's paths given to the other driver: `SLICE:PREFIX:ID`.
    if let Some((before, id)) = part.rsplit_once(':') {
        let prefix = before.rsplit_once(':')?.1;
        return if is_id(id) { found(runtime_of(prefix).unwrap_or(ContainerRuntime::Unknown), id) } else { None };
    }
    if is_id(part) {
        let runtime = match parent {
            "docker" => ContainerRuntime::Docker,
            "k8s.io" => ContainerRuntime::Containerd,
            _ => ContainerRuntime::Unknown,
        };
        return found(runtime, part);
    }
    let unit = part.strip_suffix(".scope").unwrap_or(part);
    if let Some((prefix, id)) = unit.rsplit_once('-')
        && is_id(id)
    {
        return found(runtime_of(prefix)?, id);
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|unit| unit.strip_suffix(".service")) {
        return found(ContainerRuntime::SystemdNspawn, &unescape(name)?);
    }
    if let Some(name) = part.strip_prefix("machine-").and_then(|unit| unit.strip_suffix(".scope")) {
        let name = unescape(name)?;
        // Virtual machines are registered in the same way.
        return if name.starts_with("qemu-") { None } else { found(ContainerRuntime::SystemdNspawn, &name) };
    }
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return found(ContainerRuntime::Lxc, name);
    }
    if parent == "lxc" {
        return found(ContainerRuntime::Lxc, part);
    }
    if let Some(id) = part.strip_prefix("runc-").and_then(|unit| unit.strip_suffix(".scope")) {
        return found(ContainerRuntime::Runc, id);
    }
    if is_runc(part) { found(ContainerRuntime::Runc, part) } else { None }
}

fn runtime_of(prefix: &str) -> Option<ContainerRuntime> {
    PREFIXES.iter().find(|(known, _)| *known == prefix).map(|(_, runtime)| *runtime)
}

/// What all runtimes of the Open Container Initiative but runc itself take for an id.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name as systemd escapes it in the name of a unit (systemd-escape(1)): `\xHH` for a byte.
fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
