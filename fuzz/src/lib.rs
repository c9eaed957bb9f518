//! The agent's parsers of what belongs to others. Those of the symbol helper are in a library; the
//! agent is a program, so its files are compiled here once more, in the same tree.
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
}
