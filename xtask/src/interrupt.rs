//! Ctrl-C and SIGTERM: noticed at the next wait, so that every guard on the way out cleans up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};

static ASKED_TO_END: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a signal sets a flag instead of ending the program.
pub fn listen() {
    let flag = ASKED_TO_END.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(flag)) {
            eprintln!("warning: signal {signal} will end this without cleaning up: {error}");
        }
    }
}

/// An error once the user asked to end.
pub fn check() -> Result<()> {
    if ASKED_TO_END.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, but not past the user's wish to end.
pub fn sleep(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
