//! Log lines on standard error, as text or as JSON Lines.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

use crate::cli::shared::{LogArgs, LogFormat, LogLevel};

struct Stderr {
    format: LogFormat,
}

/// Starts logging; the first call counts.
pub fn start(args: &LogArgs) {
    let level = match args.level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    };
    if log::set_boxed_logger(Box::new(Stderr { format: args.format })).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What libraries say is for debugging.
        metadata.target().starts_with("tlsclose") || log::max_level() >= LevelFilter::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = record.level().as_str().to_ascii_lowercase();
        let line = match self.format {
            LogFormat::Text => format!("{level}: {}", record.args()),
            LogFormat::Json => serde_json::json!({
                "time": jiff::Timestamp::now().to_string(),
                "level": level,
                "message": record.args().to_string(),
            })
            .to_string(),
        };
        // Nobody reads the log: nothing to be done about it.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn flush(&self) {}
}
