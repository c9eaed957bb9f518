//! Processes that end with the test that started them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{in_vain, patient, wait_for};

/// A running process, in a process group of its own, with its output in files.
/// Dropping it ends the group.
pub struct Child {
    process: std::process::Child,
    output: TempDir,
    command: String,
}

impl Child {
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(command: &mut Command) -> Child {
        Child::spawn_reading(command, Stdio::null())
    }

    /// With something to read.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn_reading(command: &mut Command, input: impl Into<Stdio>) -> Child {
        let output = TempDir::new().expect("a temporary directory");
        let file = |name| Stdio::from(fs::File::create(output.path().join(name)).expect("a file"));
        let shown = format!("{command:?}");
        let process = command
            .stdin(input)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        Child { process, output, command: shown }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// The rest of the first line on standard output that starts with `prefix`.
    ///
    /// # Panics
    /// When there is none in time, or the process ends without it.
    pub fn wait_for_line(&mut self, prefix: &str, timeout: Duration) -> String {
        let what = format!("a line `{prefix}` of {}", self.command);
        wait_for(&what, timeout, || {
            let ended = self.try_wait().is_some();
            let stdout = self.stdout();
            let complete = stdout.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let line = complete.lines().find_map(|line| line.strip_prefix(prefix));
            assert!(line.is_some() || !ended, "{} ended: {}", self.command, self.stderr());
            line.map(|rest| rest.trim().to_owned())
        })
    }

    /// Sends a signal to the process alone.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.command));
    }

    /// The exit status, when the process ends in time, which is made [`patient`].
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        self.wait_until(Instant::now() + patient(timeout))
    }

    fn wait_until(&mut self, end: Instant) -> Option<ExitStatus> {
        while Instant::now() < end {
            if let Some(status) = self.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.try_wait()
    }

    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.command))
    }

    /// This process and all that descend from it, now.
    pub fn tree(&self) -> Vec<u32> {
        descendants(self.pid())
    }

    /// The directory with its output.
    pub(crate) fn output(&self) -> &Path {
        self.output.path()
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let group = self.raw_pid();
        if self.try_wait().is_none() {
            let _ = kill_process(group, Signal::TERM);
            self.wait(Duration::from_secs(2));
        }
        // The group lives on while any process is in it, so this cannot hit a stranger.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}{}", self.command, self.stdout(), self.stderr());
        }
    }
}

/// Whether a process has not ended; one that nobody has waited for yet has.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A process and all that descend from it.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, parent(&entry.path())?)))
        .collect();
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(&one) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(child, _)| *child));
        next += 1;
    }
    tree
}

fn parent(proc_entry: &Path) -> Option<u32> {
    let stat = fs::read(proc_entry.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a command to its end, for which it needs `timeout` at most on a quiet machine.
///
/// # Panics
/// When it takes far longer.
pub fn run(command: &mut Command, timeout: Duration) -> Output {
    let mut child = Child::spawn(command);
    let status = child.wait_until(Instant::now() + in_vain(timeout));
    let status = status.unwrap_or_else(|| panic!("{} takes longer than {timeout:?}", child.command));
    Output { code: status.code(), stdout: child.stdout(), stderr: child.stderr() }
}

/// What a command said.
#[derive(Debug)]
pub struct Output {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A copy of a program that anybody may run, alone in a directory of its own.
///
/// # Panics
/// When it cannot be written.
pub fn copy_of(program: &Path, name: &str) -> (TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().expect("a temporary directory");
    let copy = directory.path().join(name);
    // Not by this process: a child that another test forks meanwhile would inherit the file open
    // for writing, and nobody could execute it ("text file busy").
    let copied = Command::new("cp").args([program, copy.as_path()]).status().expect("cp runs");
    assert!(copied.success(), "cannot copy {}", program.display());
    for path in [directory.path(), copy.as_path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    (directory, copy)
}

/// Puts zeros behind the end of a program, up to a size in bytes.
///
/// # Panics
/// When that cannot be done.
pub fn enlarge(program: &Path, size: u64) {
    // Not by this process, as in `copy_of`.
    let enlarged = Command::new("truncate").arg(format!("--size={size}")).arg(program).status();
    assert!(enlarged.expect("truncate runs").success(), "cannot enlarge {}", program.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_takes_its_group_along() {
        let child = Child::spawn(Command::new("sh").args(["-c", "sleep 60 & echo started; wait"]));
        let tree =
            wait_for("two processes", Duration::from_secs(5), || Some(child.tree()).filter(|tree| tree.len() == 2));
        drop(child);
        wait_for("both to be gone", Duration::from_secs(5), || tree.iter().all(|pid| !is_running(*pid)).then_some(()));
    }

    #[test]
    fn lines_are_waited_for_until_they_are_whole() {
        let mut child = Child::spawn(Command::new("sh").args(["-c", "printf 'ready 1'; sleep 0.3; echo 2; sleep 60"]));
        assert_eq!(child.wait_for_line("ready", Duration::from_secs(5)), "12");
    }

    #[test]
    fn a_command_gives_its_output_and_exit_code() {
        let output = run(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), Duration::from_secs(5));
        assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(3), "a\n", "b\n"));
    }
}
