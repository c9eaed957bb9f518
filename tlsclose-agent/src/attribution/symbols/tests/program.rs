//! A C program that waits in recv().

use super::*;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const C: &str = r#"#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
static volatile int sink;
static void *idle(void *arg) { pause(); return arg; }
__attribute__((noinline)) int h(int fd) {
    char byte;
    sink = fd;
    return recv(fd, &byte, 1, 0) +
           sink;
}
int main(int argc, char **argv) {
    int pair[2];
    pthread_t thread;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    if (argc > 1) pthread_create(&thread, 0, idle, 0);
    printf("%p\n", (void *)h);
    fflush(stdout);
    return h(pair[0]) + pair[1];
}
"#;

pub struct Program {
    child: Child,
    path: PathBuf,
    /// Address of `h`.
    pub h: u64,
    _dir: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it succeeded.
pub fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Program {
    pub fn compile_and_run(threads: bool) -> Self {
        Self::compile(threads, "true")
    }

    /// With a shell script run on the compiled program, `$1`.
    pub fn compile_and_strip(script: &str) -> Self {
        Self::compile(false, script)
    }

    fn compile(threads: bool, script: &str) -> Self {
        use io::BufRead;
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (dir.path().join("leaky.c"), dir.path().join("leaky"));
        fs::write(&source, C).unwrap();
        let cc = Command::new("cc")
            .args(["-g", "-O1", "-D_GNU_SOURCE", "-fno-omit-frame-pointer", "-Wl,--build-id", "-o"])
            .args([&path, &source])
            .status();
        assert!(cc.unwrap().success());
        assert!(run(Command::new("sh").args(["-c", script, "sh"]).arg(&path)), "{script}");
        let mut child = Command::new(&path).args(threads.then_some("threads")).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = io::BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let h = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
        Self { child, path, h, _dir: dir }
    }

    pub fn id(&self) -> ProcessId {
        crate::attribution::modules::tests::id_of(&self.child)
    }
}

#[test]
fn a_c_function_is_named_by_its_own_name_file_and_line_and_by_the_line_of_the_call() {
    let program = Program::compile_and_run(false);
    let found = Mapped::of(program.id());
    let (module, offset) = found.mapped.find(program.h).unwrap();
    let mut symbolizer = symbolizer();
    // Every byte of the function as a return address: one of them is behind the call.
    let places: Vec<_> = (0..128).map(|i| (module, offset + i, i > 0)).collect();
    let named = symbolizer.names(&found.modules, &places).known;
    let first = &named[0][0];
    assert_eq!(first.function.as_deref(), Some("h"));
    assert_eq!(first.file.as_deref(), program.path.with_extension("c").to_str());
    assert_eq!(first.line, Some(7));
    assert_eq!(first.offset, Some(FileOffset(offset)));
    let build_id = first.build_id.clone().unwrap();
    assert_eq!(build_id.len(), 40);
    assert_eq!(found.modules.get(module).unwrap().build_id(), Some(&build_id));
    let lines: Vec<_> = named.iter().filter_map(|frames| frames[0].line).collect();
    assert!(lines.contains(&10), "{lines:?}");
    assert!(named.iter().any(|f| f[0].function.as_deref() == Some("main")));
    assert_eq!(symbolizer.failures, 0);
}
