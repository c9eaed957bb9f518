//! Every hook of the kernel side: what it is for, what it takes, and what is lost without it.

/// What is known of a hook before anything is loaded.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where it is, or what it goes by.
    pub attach_point: &'static str,
    /// Name of the feature, as metrics label it.
    pub feature: &'static str,
    /// The program of the BPF object that does it.
    pub program: &'static str,
    /// What of the kernel that takes, with the release of Linux that brought it.
    pub needs: &'static str,
    /// Where that is missing: another program, and where it is attached. Empty where there is none.
    pub fallback: &'static str,
    /// What is lost without it, in a user's words.
    pub without: &'static str,
}

/// Declares the hooks, each with what is known of it: none can lack that.
macro_rules! hooks {
    ($($hook:ident { $($field:ident: $value:literal,)* })*) => {
        /// A hook of the kernel side.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Hook {
            $($hook,)*
        }

        impl Hook {
            pub const ALL: &'static [Self] = &[$(Self::$hook),*];

            pub fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$hook => &Spec { $($field: $value,)* },)*
                }
            }
        }
    };
}

hooks! {
    SetState {
        attach_point: "inet_sock_set_state",
        feature: "transitions",
        program: "set_state",
        needs: "tp_btf/inet_sock_set_state (5.5)",
        fallback: "",
        without: "nothing works: the agent does not start",
    }
    DestroySock {
        attach_point: "tcp_destroy_sock",
        feature: "socket_ends",
        program: "destroy_sock",
        needs: "tp_btf/tcp_destroy_sock (5.5)",
        fallback: "",
        without: "nothing works: the agent does not start",
    }
    ProcessExit {
        attach_point: "sched_process_exit",
        feature: "process_ends",
        program: "process_exit",
        needs: "tp_btf/sched_process_exit (5.5)",
        fallback: "",
        without: "nothing works: the agent does not start",
    }
    ProcessExec {
        attach_point: "sched_process_exec",
        feature: "process_execs",
        program: "process_exec",
        needs: "tp_btf/sched_process_exec (5.5)",
        fallback: "",
        without: "nothing works: the agent does not start",
    }
    ProcessFork {
        attach_point: "sched_process_fork",
        feature: "process_forks",
        program: "process_fork",
        needs: "tp_btf/sched_process_fork (5.5)",
        fallback: "",
        without: "the first sockets of a forked Python worker have no code path",
    }
    Reads {
        attach_point: "sock_recv_length",
        feature: "eof_stacks",
        program: "recv_length",
        needs: "tp_btf/sock_recv_length (6.3)",
        fallback: "recvmsg_exit: fexit/tcp_recvmsg; or read_probe: kprobe/tcp_cleanup_rbuf",
        without: "the line of code where a read returned 0 is not known",
    }
    Sends {
        attach_point: "sock_send_length",
        feature: "send_stacks",
        program: "send_length",
        needs: "tp_btf/sock_send_length (6.3)",
        fallback: "sendmsg_exit: fexit/tcp_sendmsg; or send_probe and send_return: kprobes at tcp_sendmsg",
        without: "the last send of a leaking socket is not shown",
    }
    SendReset {
        attach_point: "tcp_send_reset",
        feature: "local_resets",
        program: "send_reset",
        needs: "tp_btf/tcp_send_reset (5.5; its reason 6.10)",
        fallback: "",
        without: "connections that a program itself resets are not counted (unread data, SO_LINGER 0)",
    }
    Accept {
        attach_point: "sys_exit_accept",
        feature: "accept_stacks",
        program: "direct_accept",
        needs: "fexit of the system call's function (5.12)",
        fallback: "exit_accept: tracepoint (tracefs)",
        without: "the line of code where accept() took a socket is not known",
    }
    Accept4 {
        attach_point: "sys_exit_accept4",
        feature: "accept4_stacks",
        program: "direct_accept4",
        needs: "fexit of the system call's function (5.12)",
        fallback: "exit_accept4: tracepoint (tracefs)",
        without: "the line of code where accept4() took a socket is not known",
    }
    PythonThreads {
        attach_point: "task_struct.thread.fsbase",
        feature: "python_frames",
        program: "all that take stacks",
        needs: "the field in the kernel's types, bpf_probe_read_kernel (x86-64)",
        fallback: "",
        without: "stacks of Python programs show functions of the interpreter",
    }
    Socket {
        attach_point: "sys_exit_socket",
        feature: "socket_errors",
        program: "direct_socket",
        needs: "fexit of the system call's function (5.12)",
        fallback: "exit_socket: tracepoint (tracefs)",
        without: "calls of socket() that fail because no descriptor is left are not counted",
    }
    Close {
        attach_point: "sys_enter_close",
        feature: "close_calls",
        program: "direct_close",
        needs: "fentry of the system call's function (5.5)",
        fallback: "enter_close: tracepoint (tracefs)",
        without: "who called close() on a socket that something else keeps open is not known, nor what was closed twice",
    }
    CloseRange {
        attach_point: "sys_enter_close_range",
        feature: "close_range_calls",
        program: "direct_close_range",
        needs: "fentry of the system call's function (5.9)",
        fallback: "enter_close_range: tracepoint (tracefs)",
        without: "calls of close_range() are not counted",
    }
    Dup2 {
        attach_point: "sys_enter_dup2",
        feature: "dup2_calls",
        program: "direct_dup2",
        needs: "fentry of the system call's function (5.5)",
        fallback: "enter_dup2: tracepoint (tracefs)",
        without: "sockets that dup2() replaces are not counted as closed",
    }
    Dup3 {
        attach_point: "sys_enter_dup3",
        feature: "dup3_calls",
        program: "direct_dup3",
        needs: "fentry of the system call's function (5.5)",
        fallback: "enter_dup3: tracepoint (tracefs)",
        without: "sockets that dup3() replaces are not counted as closed",
    }
    Unheld {
        attach_point: "bpf_for_each_map_elem",
        feature: "unheld_sockets",
        program: "census",
        needs: "the helper (5.13) and those that type what it finds (5.15), bpf_probe_read_kernel",
        fallback: "",
        without: "half-closed sockets that no descriptor shows (in flight, held by io_uring or by a blocked call) are not found",
    }
    AcceptQueues {
        attach_point: "bpf_probe_read_kernel",
        feature: "accept_queues",
        program: "census",
        needs: "the helper (5.5), which lockdown=confidentiality forbids",
        fallback: "",
        without: "connections that their peer gave up in an accept queue are not found",
    }
    Callers {
        attach_point: "bpf_probe_read_user",
        feature: "callers",
        program: "all that take stacks",
        needs: "the helper (5.5), and bpf_probe_read_kernel",
        fallback: "",
        without: "code paths are cut at the system call: no line of the program is known",
    }
    Unanswered {
        attach_point: "icsk_probes_out",
        feature: "half_open",
        program: "census",
        needs: "the fields in the kernel's types",
        fallback: "",
        without: "connections whose peer does not answer are not recognised",
    }
    SelfCheck {
        attach_point: "sockets of its own",
        feature: "self_check",
        program: "census",
        needs: "a loopback, and room in the map of sockets",
        fallback: "",
        without: "whether socket fields are read correctly is not checked",
    }
    SystemCallExits {
        attach_point: "sys_exit",
        feature: "polling_spins",
        program: "exit_call",
        needs: "tp_btf/sys_exit (5.5)",
        fallback: "",
        without: "a thread that spins on epoll_wait() around a finished connection is not named",
    }
    TlsRecords {
        attach_point: "TLS records",
        feature: "tls_goodbyes",
        program: "set_state",
        needs: "the hooks at reads and sends",
        fallback: "",
        without: "how TLS connections end is not known",
    }
    Census {
        attach_point: "iter/task_file",
        feature: "census",
        program: "census",
        needs: "iter/task_file (5.8)",
        fallback: "",
        without: "nothing works: the agent does not start",
    }
}

impl Hook {
    pub fn attach_point(self) -> &'static str {
        self.spec().attach_point
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tlsclose doctor`, its JSON and the label of `tlsclose_feature` show them.
    #[test]
    fn the_names_that_users_see_stay() {
        let names = [
            ("inet_sock_set_state", "transitions"),
            ("tcp_destroy_sock", "socket_ends"),
            ("sched_process_exit", "process_ends"),
            ("sched_process_exec", "process_execs"),
            ("sched_process_fork", "process_forks"),
            ("sock_recv_length", "eof_stacks"),
            ("sock_send_length", "send_stacks"),
            ("tcp_send_reset", "local_resets"),
            ("sys_exit_accept", "accept_stacks"),
            ("sys_exit_accept4", "accept4_stacks"),
            ("task_struct.thread.fsbase", "python_frames"),
            ("sys_exit_socket", "socket_errors"),
            ("sys_enter_close", "close_calls"),
            ("sys_enter_close_range", "close_range_calls"),
            ("sys_enter_dup2", "dup2_calls"),
            ("sys_enter_dup3", "dup3_calls"),
            ("bpf_for_each_map_elem", "unheld_sockets"),
            ("bpf_probe_read_kernel", "accept_queues"),
            ("bpf_probe_read_user", "callers"),
            ("icsk_probes_out", "half_open"),
            ("sockets of its own", "self_check"),
            ("sys_exit", "polling_spins"),
            ("TLS records", "tls_goodbyes"),
            ("iter/task_file", "census"),
        ];
        let all: Vec<_> = Hook::ALL.iter().map(|hook| (hook.spec().attach_point, hook.spec().feature)).collect();
        assert_eq!(all, names);
    }
}
