//! Why the programs do not run here.

use std::path::{Path, PathBuf};

pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Each is shown as one line.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "not allowed to load BPF programs: run as root, or with CAP_BPF and CAP_PERFMON (below 5.11 CAP_SYS_RESOURCE too)"
    )]
    NotAllowed,
    #[error("{0}: give a BTF file of this kernel with --btf")]
    Btf(#[from] super::btf::BtfError),
    #[error("this kernel has no tracepoint {0}, which tlsclose needs")]
    NoTracepoint(&'static str),
    #[error("this kernel has no BPF helper {0}, which came with Linux {1} and tlsclose cannot do without")]
    NoHelper(&'static str, &'static str),
    #[error(
        "lockdown=confidentiality forbids programs to read kernel memory by address, and without the BPF helper {0} (5.15) this kernel gives them no other way"
    )]
    LockedDown(&'static str),
    #[error("cannot load {what}: {reason}")]
    Program { what: String, reason: String },
    #[error("the BPF object lacks the map {0}")]
    NoMap(&'static str),
    #[error("the agent misreads sockets of its own: {0}")]
    Misread(String),
    #[error("{error}; are the types in {} those of this kernel?", btf.display())]
    OfGivenTypes { error: Box<LoadError>, btf: PathBuf },
}

impl LoadError {
    /// The types were given by somebody, and may be the reason.
    pub fn with_types_of(self, btf: &Path) -> Self {
        match self {
            Self::Program { .. } | Self::Misread(_) | Self::NoTracepoint(_) | Self::NoHelper(..) => {
                Self::OfGivenTypes { error: Box::new(self), btf: btf.to_owned() }
            }
            other => other,
        }
    }
}

pub fn refused(what: &str, error: &AnyError) -> LoadError {
    let not_allowed = std::iter::successors(Some(error.as_ref() as &dyn std::error::Error), |e| e.source())
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()));
    if not_allowed {
        LoadError::NotAllowed
    } else {
        LoadError::Program { what: what.to_owned(), reason: one_line(error) }
    }
}

/// An error with its causes; of a verifier's log the last words, which say what was wrong.
pub fn one_line(error: &(impl std::fmt::Display + ?Sized)) -> String {
    let text = error.to_string();
    let (first, log) = text.split_once('\n').unwrap_or((&text, ""));
    let Some((error, first)) = first.split_once(" Verifier output: ") else { return first.to_owned() };
    const COUNTS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let is_count = |line: &str| COUNTS.iter().any(|count| line.starts_with(count));
    let last =
        std::iter::once(first).chain(log.lines()).map(str::trim).rfind(|line| !line.is_empty() && !is_count(line));
    format!("{error} {}", last.unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn of_an_error_the_first_line_is_kept_and_of_a_verifiers_log_the_last_words() {
        let log = "the call failed. Verifier output: arg#0\n0: R1=ctx()\ninvalid read from stack\n\
                   verification time 12 usec\nstack depth 336\nprocessed 12 insns (limit 1000000)\n";
        for (error, line) in [
            (log, "the call failed. invalid read from stack"),
            ("it failed. Verifier output: R2 is unbounded\nprocessed 1 insns\n", "it failed. R2 is unbounded"),
            ("the call failed. Verifier output: ", "the call failed."),
            ("one\ntwo", "one"),
            ("", ""),
        ] {
            assert_eq!(one_line(error), line);
        }
    }
}
