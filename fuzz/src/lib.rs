//! The parsers of what belongs to others: the agent is a program and no library, so its files are
//! compiled here once more, in the same tree.
#![allow(dead_code, reason = "only the parsers are called")]

#[path = "../../tlsclose-agent/src/attribution"]
pub mod attribution {
    pub mod modules;
    pub mod process;
    pub mod regular;
    pub mod stacks;
    pub mod worker;

    pub mod containers {
        pub mod cgroup;
    }

    pub mod python {
        pub mod code;
        pub mod lines;
    }

    pub mod symbols {
        pub mod code;
        pub mod demangle;
        pub mod elf;
        pub mod go_table;
        pub mod perf_map;
        pub mod protocol;
        pub mod returns;
        pub mod runtime;
        pub mod starts;
        pub mod unwind;
    }
}
