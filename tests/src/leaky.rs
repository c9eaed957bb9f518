//! The programs that leak, and what is known about each way to leak.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::child::{Child, copy_of, enlarge};
use crate::host::{
    beside_leaky_c, leaky_c, leaky_c_frameless, leaky_c_optimised, leaky_rust, leaky_rust_frameless, root, unique_comm,
};
use crate::netns::Netns;
use crate::report::marked_line;
use crate::seconds;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    C,
    /// C with `-O2`.
    OptimisedC,
    /// Optimised, without frame pointers.
    FramelessC,
    /// The same, with libc linked in.
    StaticC,
    /// The same with that, at any address.
    StaticPieC,
    /// The same as `FramelessC`, at the address that it was linked for.
    FixedC,
    /// The same as `FramelessC`, with musl.
    Musl,
    /// With musl, and with frame pointers of the program's own.
    FramedMusl,
    /// The same as `Musl`, linked in.
    StaticMusl,
    FramedStaticMusl,
    /// The same as `FramelessC`, without DWARF.
    SymbolsC,
    /// The same without symbols, either.
    StrippedC,
    /// Optimised, with templates, exceptions and inlined members.
    Cpp,
    StrippedCpp,
    Rust,
    /// Without frame pointers.
    FramelessRust,
    /// The same, without symbols and DWARF.
    StrippedRust,
    Go,
    /// Without symbols and DWARF.
    StrippedGo,
}

impl Language {
    pub fn program(self) -> PathBuf {
        match self {
            Language::C => leaky_c(),
            Language::OptimisedC => leaky_c_optimised(),
            Language::FramelessC => leaky_c_frameless(),
            Language::StaticC => beside_leaky_c("leaky-static"),
            Language::StaticPieC => beside_leaky_c("leaky-static-pie"),
            Language::FixedC => beside_leaky_c("leaky-fixed"),
            Language::Musl => beside_leaky_c("leaky-musl"),
            Language::FramedMusl => beside_leaky_c("leaky-musl-framed"),
            Language::StaticMusl => beside_leaky_c("leaky-musl-static"),
            Language::FramedStaticMusl => beside_leaky_c("leaky-musl-static-framed"),
            Language::SymbolsC => beside_leaky_c("leaky-symbols"),
            Language::StrippedC => beside_leaky_c("leaky-stripped"),
            Language::Cpp => beside_leaky_c("leaky-cpp"),
            Language::StrippedCpp => beside_leaky_c("leaky-cpp-stripped"),
            Language::Rust => leaky_rust(),
            Language::FramelessRust => leaky_rust_frameless(),
            Language::StrippedRust => leaky_rust_frameless().with_file_name("leaky-stripped"),
            Language::Go => beside_leaky_c("leaky-go"),
            Language::StrippedGo => beside_leaky_c("leaky-go-stripped"),
        }
    }

    /// The file with the code paths of all ways, below the repository.
    pub fn source(self) -> &'static str {
        match self {
            Language::Cpp | Language::StrippedCpp => "tests/leaky/cpp/leaky.cc",
            Language::Rust | Language::FramelessRust | Language::StrippedRust => "tests/leaky/rust/ways.rs",
            Language::Go | Language::StrippedGo => "tests/leaky/go/leaky.go",
            _ => "tests/leaky/c/ways.c",
        }
    }
}

/// What must be found.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub name: &'static str,
    pub kind: &'static str,
    pub state: &'static str,
    /// Bytes that the program has not read, with the FIN.
    pub recv_queue: u64,
    pub is_client: bool,
    /// The last touch, where it is certain: its call and result.
    pub touched: Option<(&'static str, Option<i64>)>,
}

const fn way(name: &'static str, kind: &'static str, state: &'static str) -> Way {
    Way { name, kind, state, recv_queue: 0, is_client: false, touched: None }
}

/// All ways that both languages know, but the one with inlined functions.
pub const WAYS: [Way; 6] = [
    Way { touched: Some(("read", Some(0))), ..way("eof_forget", "close_wait_eof_read", "close_wait") },
    Way { recv_queue: 5, ..way("never_read", "close_wait_unread", "close_wait") },
    Way { touched: Some(("shutdown", None)), ..way("half_close", "fin_wait2_held", "fin_wait2") },
    way("reset_forget", "reset_held", "close"),
    Way {
        is_client: true,
        touched: Some(("read", Some(0))),
        ..way("client_forget", "close_wait_eof_read", "close_wait")
    },
    Way {
        is_client: true,
        touched: Some(("shutdown", None)),
        ..way("client_half_close", "fin_wait2_held", "fin_wait2")
    },
];

/// Like `eof_forget`, with functions that the compiler inlines.
pub const INLINED: Way = Way { name: "inlined_forget", ..WAYS[0] };

/// # Panics
/// When there is none of that name.
pub fn way_named(name: &str) -> &'static Way {
    WAYS.iter().find(|way| way.name == name).expect("a way")
}

impl Way {
    /// How the socket was opened.
    pub fn opened_call(&self, language: Language) -> &'static str {
        match (self.is_client, language, self.name) {
            (true, ..) => "connect",
            (_, Language::Rust | Language::FramelessRust | Language::StrippedRust, _) => "accept4",
            (.., "half_close") => "accept",
            _ => "accept4",
        }
    }

    /// The own function that opened it, and the one that touched it last.
    pub fn opened_function(&self) -> String {
        format!("{}_{}", self.name, if self.is_client { "connect" } else { "accept" })
    }

    pub fn touched_function(&self) -> String {
        format!("{}_handle", self.name)
    }

    /// The line of `opened`, `touched`, `opened caller` or `touched caller`.
    pub fn line(&self, language: Language, what: &str) -> u64 {
        let file = root().join(language.source());
        let source = std::fs::read_to_string(&file).expect("the source");
        marked_line(&source, &format!("{} {what}", self.name))
    }
}

/// A running program that leaks. It runs from a copy with a name that nothing else on the host
/// has, so that its site, its command name and its series are its own.
pub struct Leaky {
    child: Child,
    executable: PathBuf,
    _directory: TempDir,
    pub language: Language,
    pub way: Way,
    pub comm: String,
}

impl Leaky {
    pub fn start(namespace: &Netns, language: Language, way: &Way, arguments: &[&str]) -> Leaky {
        Leaky::start_by(language, way, arguments, |executable| namespace.command(executable))
    }

    /// Under a name that other programs of the same test have too.
    pub fn start_as(comm: &str, namespace: &Netns, language: Language, way: &Way, arguments: &[&str]) -> Leaky {
        let (directory, executable) = copy_of(&language.program(), comm);
        let child = Child::spawn(namespace.command(&executable).arg(way.name).args(arguments));
        Leaky { child, executable, _directory: directory, language, way: *way, comm: comm.to_owned() }
    }

    /// With zeros behind its end, up to a size in bytes.
    pub fn start_sized(size: u64, namespace: &Netns, language: Language, way: &Way, arguments: &[&str]) -> Leaky {
        Leaky::start_by(language, way, arguments, |executable| {
            enlarge(executable, size);
            namespace.command(executable)
        })
    }

    /// Through a command made from the executable's path, which must become the program.
    pub fn start_by(
        language: Language,
        way: &Way,
        arguments: &[&str],
        command: impl FnOnce(&Path) -> Command,
    ) -> Leaky {
        let comm = unique_comm();
        let (directory, executable) = copy_of(&language.program(), &comm);
        let child = Child::spawn(command(&executable).arg(way.name).args(arguments));
        Leaky { child, executable, _directory: directory, language, way: *way, comm }
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The process at the other end.
    pub fn peer(&mut self) -> u32 {
        self.child.wait_for_line("peer ", seconds(10)).parse().expect("a PID")
    }

    /// The server's port, on either side.
    pub fn port(&mut self) -> u16 {
        self.child.wait_for_line("listening ", seconds(10)).parse().expect("a port")
    }

    /// Waits until all connections have been leaked, or handled and closed, and says how many.
    pub fn ready(&mut self) -> u64 {
        self.child.wait_for_line("ready ", seconds(60)).parse().expect("a number")
    }

    /// Waits until all sockets have been closed after all.
    pub fn recovered(&mut self) {
        self.child.wait_for_line("recovered", seconds(60));
    }

    /// All that it has said, for what several processes of it say.
    pub fn stdout(&self) -> String {
        self.child.stdout()
    }

    pub fn executable(&self) -> &Path {
        &self.executable
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

/// A load that leaks nothing: `churn`, `pool`, `stream`.
pub fn load(namespace: &Netns, arguments: &[&str]) -> Child {
    Child::spawn(namespace.command(leaky_c()).args(arguments))
}
