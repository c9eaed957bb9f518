//! What this host gives: each hook, what it is for, and what is lost without it.

/// A hook and whether it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub hook: &'static Hook,
    pub available: bool,
    /// How that was found out.
    pub probe: String,
}

/// One hook of the kernel side.
#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    pub attach_point: &'static str,
    /// Name of the feature, as metrics label it.
    pub feature: &'static str,
    /// What is lost without it, in a user's words.
    pub without: &'static str,
}

/// The table of all hooks.
pub const HOOKS: [Hook; 22] = [
    Hook {
        attach_point: "inet_sock_set_state",
        feature: "transitions",
        without: "nothing works: the agent does not start",
    },
    Hook {
        attach_point: "tcp_destroy_sock",
        feature: "socket_ends",
        without: "nothing works: the agent does not start",
    },
    Hook {
        attach_point: "sched_process_exit",
        feature: "process_ends",
        without: "nothing works: the agent does not start",
    },
    Hook {
        attach_point: "sched_process_exec",
        feature: "process_execs",
        without: "nothing works: the agent does not start",
    },
    Hook {
        attach_point: "sched_process_fork",
        feature: "process_forks",
        without: "the first sockets of a forked Python worker have no code path",
    },
    Hook {
        attach_point: "sock_recv_length",
        feature: "eof_stacks",
        without: "the line of code where a read returned 0 is not known",
    },
    Hook {
        attach_point: "sock_send_length",
        feature: "send_stacks",
        without: "the last send of a leaking socket is not shown",
    },
    Hook {
        attach_point: "tcp_send_reset",
        feature: "local_resets",
        without: "connections that a program itself resets are not counted (unread data, SO_LINGER 0)",
    },
    Hook {
        attach_point: "sys_exit_accept",
        feature: "accept_stacks",
        without: "the line of code where accept() took a socket is not known",
    },
    Hook {
        attach_point: "sys_exit_accept4",
        feature: "accept4_stacks",
        without: "the line of code where accept4() took a socket is not known",
    },
    Hook {
        attach_point: "task_struct.thread.fsbase",
        feature: "python_frames",
        without: "stacks of Python programs show functions of the interpreter",
    },
    Hook {
        attach_point: "sys_exit_socket",
        feature: "socket_errors",
        without: "calls of socket() that fail for want of a descriptor are not counted",
    },
    Hook {
        attach_point: "sys_enter_close",
        feature: "close_calls",
        without: "who called close() on a socket that something else keeps open is not known, nor what was closed twice",
    },
    Hook {
        attach_point: "sys_enter_close_range",
        feature: "close_range_calls",
        without: "calls of close_range() are not counted",
    },
    Hook {
        attach_point: "sys_enter_dup2",
        feature: "dup2_calls",
        without: "sockets that dup2() replaces are not counted as closed",
    },
    Hook {
        attach_point: "sys_enter_dup3",
        feature: "dup3_calls",
        without: "sockets that dup3() replaces are not counted as closed",
    },
    Hook {
        attach_point: "bpf_for_each_map_elem",
        feature: "unheld_sockets",
        without: "half-closed sockets that no descriptor shows (in flight, held by io_uring or by a blocked call) are not found",
    },
    Hook {
        attach_point: "icsk_probes_out",
        feature: "half_open",
        without: "connections whose peer does not answer are not told from others",
    },
    Hook {
        attach_point: "sockets of its own",
        feature: "self_check",
        without: "that the fields of sockets are read right is not checked",
    },
    Hook {
        attach_point: "sys_exit",
        feature: "polling_spins",
        without: "a thread that spins on epoll_wait() around a finished connection is not named",
    },
    Hook { attach_point: "TLS records", feature: "tls_goodbyes", without: "how TLS connections end is not known" },
    Hook { attach_point: "iter/task_file", feature: "census", without: "nothing works: the agent does not start" },
];

impl Feature {
    /// As the outputs show it.
    pub fn described(&self) -> crate::snapshot::Feature {
        crate::snapshot::Feature {
            name: self.hook.feature.to_owned(),
            available: self.available,
            probe: self.probe.clone(),
            without: if self.available { String::new() } else { self.hook.without.to_owned() },
        }
    }

    pub fn attached(attach_point: &str) -> Self {
        Self { hook: hook(attach_point), available: true, probe: format!("{attach_point}: loaded and attached") }
    }

    /// Another hook does the same here.
    pub fn replaced(attach_point: &str, by: &str) -> Self {
        let probe = format!("{attach_point}: not in this kernel; {by} in its place: loaded and attached");
        Self { hook: hook(attach_point), available: true, probe }
    }

    pub fn missing(attach_point: &str, why: &str) -> Self {
        Self { hook: hook(attach_point), available: false, probe: format!("{attach_point}: {why}") }
    }
}

fn hook(attach_point: &str) -> &'static Hook {
    HOOKS.iter().find(|hook| hook.attach_point == attach_point).unwrap_or(&HOOKS[0])
}
