//! `tlsclose agent`: the daemon.

use std::{
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{Done, Failure, load, runtime};
use crate::{
    api::Snapshot,
    cli::{
        AgentArgs,
        agent::{Switch, WebArgs, When},
    },
    config::Rules,
    host::facts,
    kernel::{CloseCalls, Options, census::CensusError},
    logging,
    output::{
        http::{self, Listeners, OwnerSocket, access::Access, host},
        otlp,
    },
    report,
    watch::{Settings, Watch},
};
use tlsclose_core::model::series_limit::Limits;

/// Sample lines of `/metrics` for each identity, kind and site: `--max-series` counts those.
const LINES_PER_SERIES: usize = 8;

/// The same for each program that closes TLS connections: five outcomes of two sides. And for its gauges: four of
/// descriptors, three of accept queues, three of half-open connections.
const LINES_PER_PROGRAM: usize = 10;

pub fn run(args: AgentArgs) -> Done {
    logging::start(&args.log);
    let rules = match &args.watch.config {
        Some(path) => Rules::read(path).map_err(|error| Failure::usage(&error))?,
        None => Rules::default(),
    };
    let access = access(&args.web)?;
    let settings = Settings {
        leak_after: args.watch.leak_after,
        leak_window: args.watch.leak_window(),
        census_interval: args.watch.census_interval,
        idle_after: args.watch.idle_after,
        limits: Limits {
            sites: args.bounds.max_sites as usize,
            series: args.bounds.max_series as usize / LINES_PER_SERIES,
            programs: args.bounds.max_series as usize / LINES_PER_PROGRAM,
        },
        procfs: args.places.procfs.clone(),
        cri_socket: args.places.cri_socket.clone(),
        show_cmdline: args.web.show_cmdline,
        rules,
        host: facts::of_this_host(args.places.btf.as_deref(), &args.places.cgroupfs),
    };
    let options = Options {
        max_sockets: args.bounds.max_sockets,
        stacks_per_second: args.bounds.max_stacks_per_second,
        copies_per_second: args.bounds.max_stack_copies_per_second,
        close_calls: match args.watch.close_calls {
            When::Auto => CloseCalls::Auto,
            When::On => CloseCalls::On,
            When::Off => CloseCalls::Off,
        },
        ..Options::default()
    };
    runtime()?.block_on(serve(&args, access, settings, options))
}

/// Who may ask over TCP. Details are for those who are known: this host, too, has other users.
fn access(web: &WebArgs) -> Result<Access, Failure> {
    let access = match &web.config_file {
        Some(path) => Access::read(path).map_err(|error| Failure::usage(&error))?,
        None => Access::default(),
    };
    if web.details == Switch::On && !access.authenticates() {
        return Err(Failure::usage(&format_args!(
            "--web.details on would show addresses and stacks to whoever reaches {}: ask for passwords or client \
             certificates with --web.config.file",
            web.listen_address
        )));
    }
    Ok(access)
}

async fn serve(args: &AgentArgs, access: Access, settings: Settings, options: Options) -> Done {
    // Listen before loading: a port in use is found before anything is attached. The owner's
    // socket comes after it: without privileges, those are what to speak of.
    let tcp = http::listen::tcp(&args.web.listen_address).map_err(|error| Failure::cannot(&error))?;
    let address = tcp.local_addr().map_or_else(|_| args.web.listen_address.to_string(), |at| at.to_string());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let kernel = load(&args.places, options)?;
    let owner = OwnerSocket::open(&args.web.socket).map_err(|error| Failure::cannot(&error))?;
    let scheme = if access.tls.is_some() { "https" } else { "http" };
    log::info!(
        "watching; metrics on {scheme}://{address}{}, details on {}",
        args.web.telemetry_path,
        args.web.socket.display()
    );
    let snapshots = Arc::new(ArcSwap::from_pointee(Snapshot::before_first_census()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut watch = {
        let (stop, snapshots) = (Arc::clone(&stop), Arc::clone(&snapshots));
        start_watch(move || {
            Watch::new(kernel, settings).run(&stop, |view| snapshots.store(Arc::new(report::snapshot(view))))
        })?
    };

    if let Some(collector) = args.otlp.endpoint.clone() {
        // Ends with the runtime.
        tokio::spawn(otlp::push(collector, args.otlp.interval, Arc::clone(&snapshots)));
    }
    let (end, ended) = tokio::sync::watch::channel(false);
    let config = http::Config {
        snapshots,
        telemetry_path: args.web.telemetry_path.clone(),
        details_over_tcp: args.web.details == Switch::On,
        access,
        hosts: host::known_names(&args.web.listen_address, &args.web.allowed_hosts),
    };
    let mut server = tokio::spawn(http::serve::serve(config, Listeners { tcp: Some(tcp), owner: Some(owner) }, ended));

    let early = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        watched = &mut watch => Some(watched),
        _ = &mut server => None,
    };
    log::info!("ending");
    stop.store(true, Ordering::Relaxed);
    // The receiver is gone only when the server has ended already.
    let _ = end.send(true);
    if !server.is_finished() {
        let _ = server.await;
    }
    outcome(match early {
        Some(watched) => watched,
        None => watch.await,
    })
}

/// What the watch came to; it never ends without a word.
fn outcome(watched: Result<Result<(), CensusError>, oneshot::error::RecvError>) -> Done {
    match watched {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(error)) => Err(Failure::cannot(&error)),
        Err(_) => Err(Failure::cannot(&"the watch ended unexpectedly: please report this")),
    }
}

/// Censuses and all that follows from them have a thread of their own, with the rights of this one.
fn start_watch<T: Send + 'static>(watch: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (tell, told) = oneshot::channel();
    // Nobody listens only where the agent has ended already.
    thread::Builder::new().name("watch".into()).spawn(move || drop(tell.send(watch())))?;
    Ok(told)
}
