//! Commands that are run to their end.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::progress::Progress;

/// How much of a failed command's output is shown.
pub const TAIL: usize = 60;

/// Where a command's output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Into the log; the end of it is shown when the command fails.
    Log,
    /// Into the log and to the reader.
    Shown,
}

/// A command that ended.
pub struct Finished {
    pub status: ExitStatus,
    pub lines: Vec<String>,
    pub elapsed: Duration,
}

/// A file under `target` that keeps the long output of one xtask command.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    pub fn create(path: PathBuf) -> Result<Log> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .with_context(|| format!("cannot write the log {}", path.display()))?;
        Ok(Log { path, file })
    }

    /// Runs a step that must succeed.
    pub fn step(&mut self, what: &str, command: Command) -> Result<()> {
        let finished = self.run(what, command, Output::Log)?;
        if !finished.status.success() {
            bail!("{what}: failed ({}); all of its output is in {}", finished.status, self.path.display());
        }
        Ok(())
    }

    /// Runs a step and tells how it ended.
    pub fn run(&mut self, what: &str, mut command: Command, output: Output) -> Result<Finished> {
        interrupt::check()?;
        writeln!(self.file, "# {what}: {command:?}").context("cannot write the log")?;
        let (reader, writer) = std::io::pipe().context("no pipe for a command's output")?;
        command.stdin(std::process::Stdio::null());
        command.stdout(writer.try_clone().context("no pipe for a command's output")?);
        command.stderr(writer);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.spawn().with_context(|| format!("{what}: {program} does not start; is it installed?"))?;
        drop(command); // and with it our ends of the pipe

        let progress = Progress::start(what, output == Output::Log);
        let lines = self.follow(&mut child, &lines_of(reader), &progress, output);
        if lines.is_err() {
            end(&mut child);
        }
        let lines = lines?;
        let status = child.wait().with_context(|| format!("{what}: cannot wait for {program}"))?;
        let elapsed = if status.success() { progress.done() } else { progress.failed() };
        if !status.success() && output == Output::Log {
            for line in lines.iter().skip(lines.len().saturating_sub(TAIL)) {
                eprintln!("    {line}");
            }
        }
        Ok(Finished { status, lines, elapsed })
    }

    /// Reads to the end of the output, or of the child where something it left behind keeps the
    /// pipe open.
    fn follow(
        &mut self,
        child: &mut Child,
        incoming: &Receiver<String>,
        progress: &Progress,
        output: Output,
    ) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            interrupt::check()?;
            match incoming.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => {
                    writeln!(self.file, "{line}").context("cannot write the log")?;
                    match output {
                        Output::Shown => println!("{line}"),
                        Output::Log => progress.show(&line),
                    }
                    lines.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if output == Output::Log {
                        progress.show(lines.last().map_or("", String::as_str));
                    }
                    if child.try_wait().context("cannot wait for a command")?.is_some() {
                        return Ok(lines);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(lines),
            }
        }
    }
}

/// The standard output of a short command that succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} does not start; is it installed?"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}", output.status, words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same command, run only when nobody else wants a processor.
pub fn when_idle(command: &Command) -> Command {
    through(&["chrt", "--idle", "0"], command)
}

/// The same command, run after most others that want a processor, but before what runs only [`when_idle`]. One that gets
/// next to nothing does its work in vain: what it waits for comes too late.
pub fn patiently(command: &Command) -> Command {
    through(&["nice", "-n", "10"], command)
}

fn through(starter: &[&str], command: &Command) -> Command {
    let mut started = Command::new(starter[0]);
    started.args(&starter[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => started.env(name, value),
            None => started.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        started.current_dir(directory);
    }
    started
}

/// Asks a child to end, then makes it, and reaps it.
pub fn end(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    for _ in 0..60 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn lines_of(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}
