//! Programs whose files hang as soon as the agent touches them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, enlarge};
use tlsclose_tests::expect::{assert_names_everything, wait_for_site};
use tlsclose_tests::host::{needs, root};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::sockets_of;
use tlsclose_tests::seconds;

/// Where a file hangs for the agent.
struct Mount {
    server: Child,
    directory: TempDir,
}

impl Mount {
    fn of(file: &Path, hangs_at: &str, agent: &Agent) -> Mount {
        let directory = TempDir::new().expect("a directory");
        let mut server = Command::new("/usr/bin/python3");
        server.arg("-B").arg(root().join("tests/leaky/python/hanging_files.py")).arg(directory.path()).arg(file);
        let mut server = Child::spawn(server.args([hangs_at, &agent.pid().to_string()]));
        server.wait_for_line("mounted", seconds(20));
        let mount = Mount { server, directory };
        // What is in the page cache hangs for nobody: all that the program needs, and a part of the zeros behind it.
        let cached = Command::new("head").args(["--bytes=1M"]).arg(mount.path(file)).stdout(Stdio::null()).status();
        assert!(cached.expect("head runs").success());
        mount
    }

    fn path(&self, file: &Path) -> PathBuf {
        self.directory.path().join(file.file_name().expect("a name"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.server.signal(rustix::process::Signal::KILL);
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

#[test]
fn a_program_on_a_file_system_that_hangs_is_found_and_holds_up_nothing_else() {
    needs(&["python3", "umount"]);
    for hangs_at in ["open", "read"] {
        let (namespace, agent) = (Netns::new(), Agent::start());
        let mut mount = None;
        let arguments = ["--count", "4", "--rate", "20", "--for", "60"];
        // Larger than what is in the page cache.
        let mut leaky = Leaky::start_by(Language::FramelessC, way_named("eof_forget"), &arguments, |executable| {
            enlarge(executable, 4 << 20);
            let mount = mount.insert(Mount::of(executable, hangs_at, &agent));
            namespace.command(mount.path(executable))
        });
        assert_eq!(leaky.ready(), 4);
        agent.wait_for("its sockets", seconds(20), |report| sockets_of(report, leaky.pid()) == 4);
        // Not at once: its first stacks are lost while its program is read, late where another one is waited for.
        let arguments = ["--count", "8", "--rate", "2", "--for", "60"];
        let mut other = Leaky::start(&namespace, Language::FramelessC, way_named("eof_forget"), &arguments);
        let site = wait_for_site(&agent, &other, 8);
        assert_names_everything(&site, &mut other);
        assert_eq!(sockets_of(&agent.leaks(), leaky.pid()), 4, "{hangs_at}");
        // Not even SIGKILL gets a thread out of FUSE that waits for an answer (fs/fuse/dev.c, request_wait_answer).
        drop(mount);
        assert!(agent.stop().success(), "{hangs_at}");
    }
}
