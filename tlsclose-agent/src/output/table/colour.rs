//! Colour, for terminals of people who want it.

use std::io::IsTerminal;

use tlsclose_core::model::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    On,
    Off,
}

impl Colour {
    /// On for a terminal, unless NO_COLOR is set and not empty (no-color.org).
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match std::io::stdout().is_terminal() && !refused {
            true => Self::On,
            false => Self::Off,
        }
    }

    pub(super) fn status(self, status: Status) -> String {
        match status {
            Status::Leaking => self.paint("1;31", "LEAKING"),
            Status::Lingering => self.paint("33", "LINGERING"),
        }
    }

    pub(super) fn label(self, label: &str) -> String {
        self.paint("36", label)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}
