//! `tlsclose top`: a live screen of what a running agent says.

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

use super::{Done, Failure, runtime};
use crate::{
    api::Report,
    cli::TopArgs,
    output::{
        agent_client::{ClientError, Target, leaks_path},
        table::Colour,
        top::{Next, Top, screen},
    },
};

/// What the screen reacts to.
enum Happened {
    Terminal(Event),
    Answered(Box<Result<Report, ClientError>>),
    /// Somebody asked the process to end, or its terminal has gone.
    End,
}

pub fn run(args: &TopArgs) -> Done {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(&"top needs a terminal: `tlsclose leaks` prints the same once"));
    }
    let target = Target::new(args.source.agent.as_deref(), args.source.socket())?;
    let path = leaks_path(&args.select.filter());
    // With no agent at all there is nothing to show: the plain error says more than an empty screen.
    let first = runtime()?.block_on(target.get(&path, args.source.timeout))?;
    let mut top = Top::new(first, args.select.sort, args.select.limit());

    let (happened, happenings) = channel();
    std::thread::spawn({
        let (happened, interval, timeout) = (happened.clone(), args.interval, args.source.timeout);
        move || ask_for_ever(&target, &path, interval, timeout, &happened)
    });
    std::thread::spawn(move || {
        while let Ok(event) = event::read()
            && happened.send(Happened::Terminal(event)).is_ok()
        {}
        let _ = happened.send(Happened::End);
    });

    let colour = Colour::of_stdout();
    let mut terminal = ratatui::try_init()?;
    let mut draw = |top: &mut Top| terminal.draw(|frame| screen::draw(frame, top, colour)).map(drop);
    let mut drawn = draw(&mut top);
    while drawn.is_ok() {
        match happenings.recv() {
            Ok(Happened::Terminal(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                if top.key(key) == Next::End {
                    break;
                }
            }
            Ok(Happened::Terminal(_)) => {}
            Ok(Happened::Answered(answer)) => top.answered(*answer),
            Ok(Happened::End) | Err(_) => break,
        }
        drawn = draw(&mut top);
    }
    ratatui::try_restore()?;
    drawn?;
    Ok(ExitCode::SUCCESS)
}

/// Asks again and again, until nobody listens.
fn ask_for_ever(target: &Target, path: &str, interval: Duration, timeout: Duration, happened: &Sender<Happened>) {
    let Ok(runtime) = runtime() else { return };
    runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        loop {
            let asked = async {
                tokio::time::sleep(interval).await;
                target.get(path, timeout).await
            };
            let what = tokio::select! {
                answer = asked => Happened::Answered(Box::new(answer)),
                _ = terminate.recv() => Happened::End,
                _ = hangup.recv() => Happened::End,
            };
            if happened.send(what).is_err() {
                return;
            }
        }
    });
}
