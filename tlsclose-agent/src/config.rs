//! `--config FILE`: other rules for some programs or sites.
//!
//! ```toml
//! [[rule]]
//! comm = "envoy"           # conditions: comm, exe, namespace; * stands for any text
//! namespace = "mesh-*"
//! leak-after = "5m"
//!
//! [[rule]]
//! site = "9f2c41d0a7be"    # or one site
//! ignore = true
//! ```
//!
//! The first rule whose every condition holds decides.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use tlsclose_core::model::duration::parse_positive;

/// One line: what is wrong, in which file and line.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read the rules {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Wrong { path: PathBuf, line: usize, message: String },
}

/// What is different for a process or a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Instead of `--leak-after`.
    pub leak_after: Option<Duration>,
    /// Its sockets are no findings; they are counted apart.
    pub ignore: bool,
}

/// All rules of a file, in its order. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    conditions: Conditions,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Conditions {
    Process { comm: Option<String>, exe: Option<String>, namespace: Option<String> },
    Site(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Table>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    comm: Option<String>,
    exe: Option<String>,
    namespace: Option<String>,
    site: Option<String>,
    leak_after: Option<Spanned<String>>,
    #[serde(default)]
    ignore: bool,
}

impl Rules {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(at, message)| ConfigError::Wrong {
            path: path.to_owned(),
            line: text[..at.min(text.len())].matches('\n').count() + 1,
            message,
        })
    }

    /// An error comes with the byte at which it is.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(Range { start: 0, end: 0 }).start;
            (at, error.message().replace('\n', ", "))
        })?;
        file.rule.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// The rule for a process; `namespace` is empty outside Kubernetes.
    pub fn for_process(&self, comm: &str, exe: &str, namespace: &str) -> Rule {
        self.first(|conditions| match conditions {
            Conditions::Process { comm: wanted_comm, exe: wanted_exe, namespace: wanted_namespace } => {
                [(wanted_comm, comm), (wanted_exe, exe), (wanted_namespace, namespace)]
                    .into_iter()
                    .all(|(pattern, text)| pattern.as_ref().is_none_or(|pattern| glob(pattern, text)))
            }
            Conditions::Site(_) => false,
        })
    }

    /// The rule for a site.
    pub fn for_site(&self, site: &str) -> Rule {
        self.first(|conditions| matches!(conditions, Conditions::Site(wanted) if wanted == site))
    }

    fn first(&self, holds: impl Fn(&Conditions) -> bool) -> Rule {
        self.0.iter().find(|entry| holds(&entry.conditions)).map(|entry| entry.rule).unwrap_or_default()
    }
}

fn entry(table: Spanned<Table>) -> Result<Entry, (usize, String)> {
    let start = table.span().start;
    let wrong = |message: &str| Err((start, message.to_owned()));
    let table = table.into_inner();
    let by_process = table.comm.is_some() || table.exe.is_some() || table.namespace.is_some();
    let leak_after = match &table.leak_after {
        None => None,
        Some(text) => Some(
            parse_positive(text.get_ref())
                .map_err(|error| (text.span().start, format!("leak-after = {:?}: {error}", text.get_ref())))?,
        ),
    };
    if leak_after.is_some() == table.ignore {
        return wrong("a rule needs either leak-after or ignore = true");
    }
    let conditions = match table.site {
        Some(_) if by_process => {
            return wrong("a rule is either for a site or for comm, exe and namespace");
        }
        Some(site) => Conditions::Site(site),
        None if !by_process => return wrong("a rule needs a comm, an exe, a namespace or a site"),
        None => Conditions::Process { comm: table.comm, exe: table.exe, namespace: table.namespace },
    };
    Ok(Entry { conditions, rule: Rule { leak_after, ignore: table.ignore } })
}

/// Whether `text` is what `pattern` describes; `*` stands for any text. Linear in both.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests;
