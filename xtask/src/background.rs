//! Programs that run beside us, and end with us: however this ends, each is ended and reaped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::run;

pub struct Background {
    name: String,
    child: Child,
    /// What it prints, line by line.
    lines: Receiver<String>,
    errors: PathBuf,
}

impl Background {
    /// Starts a program whose output is read; what it writes to standard error goes to `errors`.
    pub fn start(name: &str, command: Command, errors: &Path) -> Result<Background> {
        Background::start_with(name, command, errors, Stdio::piped())
    }

    /// Starts a program whose output nobody reads.
    pub fn start_unread(name: &str, command: Command, errors: &Path) -> Result<Background> {
        Background::start_with(name, command, errors, Stdio::null())
    }

    fn start_with(name: &str, mut command: Command, errors: &Path, output: Stdio) -> Result<Background> {
        interrupt::check()?;
        let file =
            File::create(errors).with_context(|| format!("cannot write {}, the errors of {name}", errors.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(file);
        let mut child = command.spawn().with_context(|| {
            let program = command.get_program().to_string_lossy();
            format!("{name} does not start: {program}")
        })?;
        let lines = lines_of(child.stdout.take());
        Ok(Background { name: name.to_owned(), child, lines, errors: errors.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts with `word` and returns the rest of it.
    pub fn wait_for_line(&mut self, word: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            interrupt::check()?;
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.must_live()?,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(Duration::from_millis(50)); // it closed its output: it is ending
                    self.must_live()?;
                }
            }
        }
        bail!("{} did not print '{word}' within {} s", self.name, patience.as_secs())
    }

    /// An error, with its own last words, when the program has ended.
    pub fn must_live(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("cannot wait for a program")? else {
            return Ok(());
        };
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let words: Vec<&str> = errors.lines().rev().take(5).collect();
        let words: Vec<&str> = words.into_iter().rev().collect();
        bail!("{} ended too early ({status}): {}", self.name, words.join("\n"))
    }

    /// Waits until the program ends by itself; whether it succeeded, and the end of what it wrote to standard error.
    pub fn wait(mut self) -> Result<(bool, Vec<String>)> {
        let status = loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait().context("cannot wait for a program")? {
                break status;
            }
            thread::sleep(Duration::from_millis(200));
        };
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = errors.lines().collect();
        let tail = lines[lines.len().saturating_sub(run::TAIL)..].iter().map(|line| (*line).to_owned());
        Ok((status.success(), tail.collect()))
    }

    /// Ends the program now.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        run::end(&mut self.child);
    }
}

fn lines_of(output: Option<ChildStdout>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let Some(output) = output else { return };
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // Nobody may be listening any more; the pipe must be drained all the same.
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    receiver
}
