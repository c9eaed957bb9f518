//! `tlsclose leaks`: asks a running agent, or watches on its own for a while.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{Done, FOUND, Failure, load, print, runtime};
use crate::{
    api::{Report, Snapshot},
    cli::{LeaksArgs, shared::OutputFormat},
    config::Rules,
    host::facts,
    kernel::Options,
    logging,
    output::{
        agent_client::{ClientError, Target, leaks_path},
        filter::{Filter, select},
        table::{self, Colour, Layout},
    },
    report,
    watch::{Settings, Watch},
};
use tlsclose_core::model::{Kind, escape, series_limit::Limits};

/// Censuses are close together here: the whole watch is short.
const INTERVAL: Duration = Duration::from_millis(500);
/// A socket lingers when two censuses have shown it and a later one finds it untouched still.
const FEWEST_CENSUSES: u64 = 3;

pub fn run(args: LeaksArgs) -> Done {
    logging::start(&args.log);
    let mut report = if args.alone.standalone { standalone(&args)? } else { ask_or_stand_alone(&args)? };
    if let Some(site) = &args.select.site {
        must_have(&report, site)?;
    }
    select(&mut report, &args.select.filter(), args.select.sort, args.select.limit());
    let text = match args.output {
        OutputFormat::Json => serde_json::to_string(&report).map_err(|error| Failure::cannot(&error))? + "\n",
        format => {
            let layout = Layout {
                wide: format == OutputFormat::Wide,
                colour: Colour::of_stdout(),
                sort: args.select.sort,
                top: args.select.limit(),
            };
            match args.select.kind {
                Some(Kind::AbortedClose) => table::aborts::sites(&report, &layout),
                Some(Kind::HalfOpen) => table::half_open::sites(&report, &layout),
                Some(Kind::TlsTruncated) => table::tls::sites(&report, &layout),
                _ => table::leaks(&report, &layout),
            }
        }
    };
    print(&text)?;
    let met = args.fail_on.is_some_and(|on| report.sites.iter().any(|site| on.is_met_by(site.status)));
    Ok(if met { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// A site that nobody knows is a mistake in its name, and not good news.
fn must_have(report: &Report, site: &str) -> Result<(), Failure> {
    let known = report.site_names();
    if known.contains(site) {
        return Ok(());
    }
    let others = match known.len() {
        0 => "and no other".to_owned(),
        1 => "1 other".to_owned(),
        others => format!("{others} others"),
    };
    Err(Failure::cannot(&format_args!("no site {} here ({others})", escape(site))))
}

/// Asks the agent; where none was named and none runs, watches instead.
fn ask_or_stand_alone(args: &LeaksArgs) -> Result<Report, Failure> {
    let target = Target::new(args.source.agent.as_deref(), args.source.socket())?;
    // All sites are asked for, so that one that is not there can be told from none at all.
    let path = leaks_path(&Filter { site: None, ..args.select.filter() });
    match runtime()?.block_on(target.get(&path, args.source.timeout)) {
        Err(ClientError::NoAgent(_)) if !args.source.is_named() => standalone(args),
        answer => Ok(answer?),
    }
}

fn standalone(args: &LeaksArgs) -> Result<Report, Failure> {
    let kernel = load(&args.places, Options::default())?;
    let settings = Settings {
        leak_after: args.alone.leak_after,
        leak_window: args.alone.watch_for,
        census_interval: INTERVAL,
        idle_after: Duration::ZERO,
        limits: Limits { sites: 200, series: 5000, programs: 500 },
        procfs: args.places.procfs.clone(),
        cri_socket: args.places.cri_socket.clone(),
        show_cmdline: false,
        rules: Rules::default(),
        host: facts::of_this_host(args.places.btf.as_deref(), &args.places.cgroupfs),
    };
    let snapshots = ArcSwap::from_pointee(Snapshot::before_first_census());
    let stop = Arc::new(AtomicBool::new(false));
    // Ctrl-C prints what there is so far.
    interrupt_stops(&stop)?;
    let censuses = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            Watch::new(kernel, settings).run(&stop, |view| {
                snapshots.store(Arc::new(report::snapshot(view)));
                censuses.fetch_add(1, Ordering::Relaxed);
            })
        });
        wait(args.alone.watch_for, &stop, || watch.is_finished());
        stop.store(true, Ordering::Relaxed);
        match watch.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::cannot(&error)),
            Err(_) => Err(Failure::cannot(&"the watch ended unexpectedly: please report this")),
        }
    })?;
    let censuses = censuses.into_inner();
    if censuses < FEWEST_CENSUSES {
        return Err(Failure::cannot(&format_args!(
            "only {censuses} of the needed {FEWEST_CENSUSES} censuses could be taken: not enough to say; watch for longer with --for"
        )));
    }
    eprintln!("watched on its own: where sockets older than this were opened is not known");
    Ok(snapshots.load().report.clone())
}

fn interrupt_stops(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let stop = Arc::clone(stop);
    let runtime = runtime()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            // Without the handler Ctrl-C ends the program as usual.
            let _ = tokio::signal::ctrl_c().await;
        });
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Waits, with a progress bar on a terminal.
fn wait(span: Duration, stop: &AtomicBool, finished: impl Fn() -> bool) {
    const WIDTH: usize = 30;
    let (start, bar) = (Instant::now(), std::io::stderr().is_terminal());
    while start.elapsed() < span && !stop.load(Ordering::Relaxed) && !finished() {
        if bar {
            let part = start.elapsed().as_secs_f64() / span.as_secs_f64();
            let full = (part * WIDTH as f64) as usize;
            let left = (span.as_secs_f64() - start.elapsed().as_secs_f64()).ceil();
            eprint!("\rwatching [{}{}] {left:.0} s left ", "#".repeat(full), ".".repeat(WIDTH - full));
            // A terminal that is gone is no reason to stop.
            let _ = std::io::stderr().flush();
        }
        std::thread::sleep(Duration::from_millis(100).min(span));
    }
    if bar {
        eprint!("\r\x1b[K");
    }
}
