//! The agent's parsers of what belongs to others. Those of the symbol helper are in a library; the
//! agent is a program, so its files are compiled here once more, in the same tree.
#![allow(dead_code, reason = "only the parsers are called")]

#[path = "../../tlsclose-agent/src/attribution"]
pub mod attribution {
    pub mod detached_worker;
    pub mod modules;
    pub mod untrusted_file;

    pub mod code_paths {
        pub mod stacks;
    }

    pub mod containers {
        pub mod cgroup;
    }

    pub mod process {
        pub mod procfs;
    }

    pub mod runtimes {
        pub mod python {
            pub mod code;
            pub mod lines;
        }
    }
}
