//! One virtual machine, from power on to power off.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::qemu;
use crate::interrupt;
use crate::progress::Progress;
use crate::run;

const MEMORY_MIB: &str = "2048";

/// A guest that says nothing for this long has stalled, even one that gets little of the processors.
const SILENCE: Duration = Duration::from_secs(420);

/// Lines of a bad guest's console that are shown: all of it is in its file.
const TAIL: usize = 120;

/// What became of the tests in one guest.
pub struct Outcome {
    pub kernel: String,
    /// As `uname -r` has it; empty when the guest did not get that far.
    pub release: String,
    /// Names of tests, and whether each passed.
    pub tests: Vec<(String, bool)>,
    /// Those that failed first, and passed when they were tried again.
    pub flaky: Vec<String>,
    /// The guest came to its end by itself.
    pub ended: bool,
    /// The kernel warned of something.
    pub complaints: Vec<String>,
    pub seconds: f64,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.ended
            && self.complaints.is_empty()
            && !self.tests.is_empty()
            && self.tests.iter().all(|(_, passed)| *passed)
    }

    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|(_, passed)| *passed).count()
    }

    pub fn in_words(&self) -> String {
        let failed: Vec<&str> =
            self.tests.iter().filter(|(_, passed)| !passed).map(|(name, _)| name.as_str()).collect();
        let passed = self.passed();
        let mut words = format!("{}: {passed} passed, {} failed, {:.0} s", self.kernel, failed.len(), self.seconds);
        if !failed.is_empty() {
            words += &format!(" ({})", failed.join(", "));
        }
        if let Some(complaint) = self.complaints.first() {
            words += &format!(", the kernel complained: {complaint}");
        }
        if !self.ended {
            words += ", the guest did not come to its end";
        }
        words
    }
}

/// What is booted, and what is tested there.
pub struct Guest<'a> {
    /// As the table calls it.
    pub name: String,
    pub image: PathBuf,
    /// Of the kernel, besides those that every guest gets.
    pub arguments: &'static str,
    /// Of the tests.
    pub filters: &'a [&'a str],
    /// Of those that follow once the kernel is locked down; none where it is not.
    pub locked_filters: &'a [&'a str],
    /// After so many, counts have to be exact.
    pub connections: u32,
}

impl Guest<'_> {
    fn console(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.log", self.name.replace(' ', "-")))
    }

    /// Shows the end of what the guest wrote.
    pub fn show_console(&self, directory: &Path) -> Result<()> {
        let log = self.console(directory);
        let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            eprintln!("    {line}");
        }
        Ok(())
    }

    /// Boots the kernel and follows its console.
    ///
    /// `alone` says that nothing else is shown meanwhile.
    pub fn run(
        &self,
        directory: &Path,
        initramfs: &Path,
        tests: &Path,
        alone: bool,
        limit: Duration,
    ) -> Result<Outcome> {
        interrupt::check()?;
        let mut child = self.machine(initramfs, tests).spawn().context("QEMU does not start")?;
        let console = child.stdout.take().context("no console")?;
        let log = self.console(directory);
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let progress = Progress::start(&format!("tests on {}", self.name), alone);
        let start = Instant::now();
        let followed = follow(lines_of(console), file, &progress, limit);
        run::end(&mut child);
        followed?;
        let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let outcome = read(&self.name, &text, start.elapsed());
        if outcome.is_good() {
            progress.done()
        } else {
            progress.failed()
        };
        Ok(outcome)
    }

    /// It takes what others leave of the processors, so it may run beside anything.
    fn machine(&self, initramfs: &Path, tests: &Path) -> Command {
        let mut qemu = run::patiently(&qemu::command());
        // Both processors take turns in one thread. Where each has a thread, one may translate a breakpoint that the other
        // just takes away, as kernels do when they patch their code, and go on with it.
        qemu.args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", MEMORY_MIB]);
        qemu.args(["-nographic", "-no-reboot", "-nic", "none"]);
        qemu.arg("-kernel").arg(&self.image).arg("-initrd").arg(initramfs).arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 oops=panic panic_on_warn=1 softlockup_panic=1 {} \
             tlsclose.tests=\"{}\" tlsclose.connections=\"{}\" tlsclose.filters=\"{}\" tlsclose.locked=\"{}\"",
            self.arguments,
            tests.display(),
            self.connections,
            self.filters.join(" "),
            self.locked_filters.join(" ")
        ));
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        qemu
    }
}

fn lines_of(console: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Keeps what a guest says until it ends, falls silent, or has taken too long.
fn follow(lines: Receiver<String>, mut file: File, progress: &Progress, limit: Duration) -> Result<()> {
    let (start, mut heard) = (Instant::now(), Instant::now());
    while start.elapsed() < limit && heard.elapsed() < SILENCE {
        interrupt::check()?;
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                heard = Instant::now();
                progress.show(&line);
                writeln!(file, "{line}").context("cannot write the console")?;
            }
            Err(RecvTimeoutError::Timeout) => progress.show(""),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

/// Reads a console: libtest's lines, and those that the guest's init writes.
pub fn read(kernel: &str, console: &str, took: Duration) -> Outcome {
    let mut outcome = Outcome {
        kernel: kernel.to_owned(),
        release: String::new(),
        tests: Vec::new(),
        flaky: Vec::new(),
        ended: false,
        complaints: Vec::new(),
        seconds: took.as_secs_f64(),
    };
    for line in console.lines() {
        if let Some(rest) = line.strip_prefix("guest: ") {
            match rest.split_once(' ') {
                Some(("kernel", words)) => match words.strip_prefix("complains: ") {
                    Some(complaint) => outcome.complaints.push(complaint.to_owned()),
                    None => words.clone_into(&mut outcome.release),
                },
                _ => outcome.ended |= rest.starts_with("tests ended"),
            }
        } else if let Some((name, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
            && matches!(verdict, "ok" | "FAILED")
        {
            // The last word counts: what fails is tried once more. That it failed is told, too.
            let passed = verdict == "ok";
            if passed && outcome.tests.iter().any(|(other, passed)| other == name && !passed) {
                outcome.flaky.push(name.to_owned());
            }
            outcome.tests.retain(|(other, _)| other != name);
            outcome.tests.push((name.to_owned(), passed));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
guest: kernel 6.1.0-56-cloud-amd64
running 2 tests
test findings::one ... ok
test findings::two ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 62 filtered out; finished in 41.40s
guest: tests ended
";

    #[test]
    fn a_console_tells_what_passed() {
        let outcome = read("6.1", CONSOLE, Duration::from_secs(7));
        assert_eq!(outcome.release, "6.1.0-56-cloud-amd64");
        assert_eq!(outcome.in_words(), "6.1: 1 passed, 1 failed, 7 s (findings::two)");
        assert!(outcome.ended && !outcome.is_good());
    }

    #[test]
    fn what_passes_alone_has_passed_and_is_flaky() {
        let console = "test a ... FAILED\ntest b ... ok\ntest a ... ok\nguest: tests ended\n";
        let outcome = read("6.1", console, Duration::ZERO);
        assert!(outcome.is_good() && outcome.passed() == 2);
        assert_eq!(outcome.flaky, ["a"]);
    }

    #[test]
    fn a_guest_that_dies_is_no_success() {
        let outcome = read("6.1", "test findings::one ... ok\nKernel panic - not syncing\n", Duration::ZERO);
        assert!(!outcome.is_good());
        assert!(outcome.in_words().ends_with("did not come to its end"));
        assert!(!read("6.1", "guest: tests ended\n", Duration::ZERO).is_good(), "no test at all");
        let console = "test a ... ok\nguest: tests ended\nguest: kernel complains: WARNING: CPU: 0\n";
        assert!(!read("6.1", console, Duration::ZERO).is_good());
    }
}
