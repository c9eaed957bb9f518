//! What the sites of all lists have in common.

use tlsclose_core::model::{Container, Kind};

use super::{aborts::AbortSite, half_open::HalfOpenSite, leaks::Site, tls::TlsSite};

/// A process of a site.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub pid: u32,
    pub comm: &'a str,
    pub exe: &'a str,
    pub container: Option<&'a Container>,
}

pub trait Listed {
    fn site(&self) -> &str;
    fn kind(&self) -> Kind;
    /// Those alive, the one with the most first.
    fn processes(&self) -> impl Iterator<Item = Who<'_>>;
    /// Why it is so, and what to do about it.
    fn advice(&self) -> [&str; 2];

    /// It is a code path of a program of this name.
    fn is_of(&self, comm: &str) -> bool {
        self.processes().any(|who| who.comm == comm)
    }
}

/// The same for every list, whose types have the same fields.
macro_rules! listed {
    ($site:ty $(, $is_of:item)?) => {
        impl Listed for $site {
            fn site(&self) -> &str {
                &self.site
            }

            fn kind(&self) -> Kind {
                self.kind
            }

            fn processes(&self) -> impl Iterator<Item = Who<'_>> {
                self.processes.iter().map(|process| Who {
                    pid: process.pid,
                    comm: &process.comm,
                    exe: &process.exe,
                    container: process.container.as_ref(),
                })
            }

            fn advice(&self) -> [&str; 2] {
                [&self.why, &self.fix]
            }

            $($is_of)?
        }
    };
}

listed!(Site);
listed!(HalfOpenSite);
listed!(
    AbortSite,
    /// Of its processes none may be alive.
    fn is_of(&self, comm: &str) -> bool {
        self.comm == comm
    }
);
listed!(
    TlsSite,
    /// As for an [`AbortSite`].
    fn is_of(&self, comm: &str) -> bool {
        self.comm == comm
    }
);
