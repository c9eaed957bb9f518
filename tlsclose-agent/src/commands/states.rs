//! `tlsclose states`: every TCP transition as it happens, with the socket's owner.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tlsclose_common::facts;
use tokio::signal::unix::{SignalKind, signal};

use super::{Done, Failure, load, runtime};
use crate::{
    cli::{StatesArgs, shared::OutputFormat},
    host::rights,
    kernel::{CloseCalls, Kernel, Options, attach::Links},
    logging,
    output::states::{Columns, Owner, Transition},
};
use tlsclose_core::model::{Moment, State, printable};

/// How long the stream may pile up.
const POLL: Duration = Duration::from_millis(50);
/// Sockets whose last transition is remembered.
const MAX_SOCKETS: usize = 262_144;

/// What is known of a socket between two transitions.
struct Known {
    since: Moment,
    owner: Option<Owner>,
}

pub fn run(args: StatesArgs) -> Done {
    logging::start(&args.log);
    // Each hook that is attached for nothing is one more to wait for at the end.
    let options = Options {
        stream: true,
        census_of_all: true,
        socket_errors: false,
        close_calls: CloseCalls::Off,
        ..Options::default()
    };
    let mut kernel = load(&args.places, options)?;
    let mut sockets = owners(&mut kernel)?;
    if let Err(error) = rights::give_up_all() {
        log::warn!("cannot give up rights that are not used: {error}");
    }
    let links = Arc::new(Mutex::new(kernel.take_links()));
    detach_at_signals(&links)?;
    let done = show(&mut kernel, &mut sockets, &args);
    detach(&links);
    done
}

/// Shows transitions until nobody reads them any more.
fn show(kernel: &mut Kernel, sockets: &mut HashMap<u64, Known>, args: &StatesArgs) -> Done {
    let columns = Columns { time: args.time, wide: args.wide };
    let json = args.output == OutputFormat::Json;
    if !json && !write_line(&columns.header())? {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(POLL);
        let mut lines = Vec::new();
        kernel.stream.drain(|event| lines.extend(row(&event, sockets, args)));
        for transition in lines {
            let line = if json {
                serde_json::to_string(&transition).map_err(|error| Failure::cannot(&error))?
            } else {
                columns.row(&transition)
            };
            if !write_line(&line)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// Ends the program at SIGINT and SIGTERM, as they would without this, but with all programs detached at once: when a
/// process ends, the kernel detaches one after the other.
fn detach_at_signals(links: &Arc<Mutex<Links>>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let links = Arc::clone(links);
    // Beside the loop, which may hang in a write to a reader that does not read.
    std::thread::spawn(move || {
        let ended_by = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            }
        });
        detach(&links);
        // As shells show such an end.
        std::process::exit(128 + ended_by.as_raw_value());
    });
    Ok(())
}

fn detach(links: &Mutex<Links>) {
    let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
    drop(std::mem::take(&mut *links));
}

/// Owners of the sockets that were there before.
fn owners(kernel: &mut Kernel) -> Result<HashMap<u64, Known>, Failure> {
    let mut sockets = HashMap::new();
    let now = crate::host::clock::now();
    let census = kernel.census(|record| {
        sockets.entry(record.sk).or_insert_with(|| Known { since: now, owner: owner(record.tgid) });
    });
    census.map_err(|error| Failure::cannot(&error))?;
    for known in sockets.values_mut() {
        // Its present state is older than that: how long it lasts is not known.
        known.since = Moment(0);
    }
    Ok(sockets)
}

fn row(event: &facts::Transition, sockets: &mut HashMap<u64, Known>, args: &StatesArgs) -> Option<Transition> {
    let at = Moment(event.at);
    let known = sockets.remove(&event.sk);
    let since = known.as_ref().map_or(Moment(0), |known| known.since);
    let opener = known.as_ref().and_then(|known| known.owner.as_ref()).map(|owner| owner.pid);
    let owner = match known.and_then(|known| known.owner) {
        Some(owner) if event.tgid == 0 || opener == Some(event.tgid) => Some(owner),
        _ => owner(event.tgid),
    };
    if event.new != facts::state::CLOSE && sockets.len() < MAX_SOCKETS {
        sockets.insert(event.sk, Known { since: at, owner: owner.clone() });
    }
    let transition = Transition {
        time: wall_clock(at),
        skaddr: event.sk,
        owner,
        local: address(event.family, event.local),
        local_port: event.local_port,
        remote: address(event.family, event.remote),
        remote_port: event.remote_port,
        old_state: State::numbered(event.old)?,
        new_state: State::numbered(event.new)?,
        milliseconds: (since != Moment(0)).then(|| at.since(since).as_secs_f64() * 1000.0),
    };
    wanted(&transition, event.family, args).then_some(transition)
}

/// When it happened, not when it was read.
fn wall_clock(at: Moment) -> String {
    let now = jiff::Timestamp::now();
    now.checked_sub(crate::host::clock::now().since(at)).unwrap_or(now).to_string()
}

fn wanted(transition: &Transition, family: u8, args: &StatesArgs) -> bool {
    let owner = transition.owner.as_ref();
    let is_any = |ports: &[u16], port| ports.is_empty() || ports.contains(&port);
    args.pid.is_none_or(|pid| owner.is_some_and(|owner| owner.pid == pid))
        && args.comm.as_ref().is_none_or(|comm| owner.is_some_and(|owner| owner.comm == *comm))
        && is_any(&args.localport, transition.local_port)
        && is_any(&args.remoteport, transition.remote_port)
        && !(args.ipv4 && family != 2)
        && !(args.ipv6 && family != 10)
}

fn owner(pid: u32) -> Option<Owner> {
    if pid == 0 {
        return None;
    }
    // A process that has ended already keeps its PID; its name is not known any more.
    let comm = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_else(|_| b"?".to_vec());
    Some(Owner { pid, comm: printable(comm.strip_suffix(b"\n").unwrap_or(&comm)) })
}

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    if family == 10 {
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    }
}

/// False when nobody reads any more.
fn write_line(line: &str) -> Result<bool, Failure> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(flags: &str) -> StatesArgs {
        let words = ["tlsclose", "states"].into_iter().chain(flags.split_whitespace());
        match Cli::try_parse_from(words).expect("arguments").command {
            Command::States(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn filters_are_of_the_sockets_owner_ports_and_family() {
        let mut transition = Transition {
            time: String::new(),
            skaddr: 1,
            owner: Some(Owner { pid: 42, comm: "nginx".to_owned() }),
            local: Ipv4Addr::LOCALHOST.into(),
            local_port: 443,
            remote: Ipv4Addr::LOCALHOST.into(),
            remote_port: 50_000,
            old_state: State::Established,
            new_state: State::CloseWait,
            milliseconds: None,
        };
        // With IPv4, with IPv6, and where nobody holds the socket.
        for (flags, shown) in [
            ("", [true, true, true]),
            ("-p 42 -c nginx -L 80,443 -D 50000", [true, true, false]),
            ("-p 43", [false; 3]),
            ("-c ngin", [false; 3]),
            ("-L 50000", [false; 3]),
            ("-D 443", [false; 3]),
            ("-L 443 -D 443", [false; 3]),
            ("-4", [true, false, true]),
            ("-6", [false, true, false]),
        ] {
            let args = arguments(flags);
            transition.owner = Some(Owner { pid: 42, comm: "nginx".to_owned() });
            let mut found = [2, 10].map(|family| wanted(&transition, family, &args)).to_vec();
            transition.owner = None;
            found.push(wanted(&transition, 2, &args));
            assert_eq!(found, shown, "{flags}");
        }
    }
}
