//! The loaded programs, and the places that they are attached to.

use std::{any::Any, thread};

use aya::{
    Btf as AyaBtf, Ebpf,
    maps::{Map, MapError},
    programs::{BtfTracePoint, Program},
};
use aya_log::EbpfLogger;

use super::{
    hook::Hook,
    load_error::{AnyError, LoadError},
};

/// Dropping it detaches them.
pub(super) struct Programs {
    pub ebpf: Ebpf,
    /// Reads what the programs log, when they do.
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    attached: Links,
}

/// What keeps programs attached; dropping it detaches all of them at once.
#[derive(Default)]
pub struct Links(Vec<Box<dyn Any + Send>>);

impl Programs {
    pub fn new(ebpf: Ebpf) -> Self {
        Self { ebpf, logger: None, attached: Links::default() }
    }

    /// A program of the object by its name.
    pub fn get<'a, T>(&'a mut self, name: &str) -> Result<&'a mut T, LoadError>
    where
        &'a mut T: TryFrom<&'a mut Program>,
    {
        let missing = || LoadError::Program { what: name.to_owned(), reason: "not in the BPF object".into() };
        self.ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
    }

    /// A map of the object, which from then on is the caller's.
    pub fn map<T>(&mut self, name: &'static str) -> Result<T, LoadError>
    where
        T: TryFrom<Map, Error = MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or(LoadError::NoMap(name))?;
        map.try_into().map_err(|_| LoadError::NoMap(name))
    }

    /// Keeps a program attached from now on.
    pub fn keep(&mut self, link: impl Any + Send) {
        self.attached.push(link);
    }

    /// Attaches the program of a hook that is a tracepoint of the kernel with types.
    pub fn attach_tracepoint(&mut self, hook: Hook, btf: &AyaBtf) -> Result<(), AnyError> {
        let spec = hook.spec();
        let program: &mut BtfTracePoint = self.get(spec.program)?;
        program.load(spec.attach_point, btf)?;
        let link = program.attach().and_then(|id| program.take_link(id))?;
        self.keep(link);
        Ok(())
    }

    pub fn take_links(&mut self) -> Links {
        std::mem::take(&mut self.attached)
    }

    pub fn log(&mut self) {
        self.logger = EbpfLogger::init(&mut self.ebpf).ok();
    }

    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}

impl Links {
    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(super) fn push(&mut self, link: impl Any + Send) {
        self.0.push(Box::new(link));
    }
}

impl Drop for Links {
    /// For each the kernel waits until no processor can be running its program.
    fn drop(&mut self) {
        thread::scope(|scope| {
            for link in self.0.drain(..) {
                // Where no thread can be started, the link goes here.
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Condvar, Mutex},
        time::Duration,
    };

    use super::*;

    /// Going, it waits for others that go.
    struct Waits(Arc<(Mutex<usize>, Condvar)>);

    impl Drop for Waits {
        fn drop(&mut self) {
            let (going, changed) = &*self.0;
            let mut going = going.lock().unwrap();
            *going += 1;
            changed.notify_all();
            let limit = Duration::from_secs(20);
            let (_going, timeout) = changed.wait_timeout_while(going, limit, |going| *going < 20).unwrap();
            assert!(!timeout.timed_out(), "the links go one after the other");
        }
    }

    #[test]
    fn links_go_at_once() {
        let going = Arc::default();
        let mut links = Links::default();
        (0..20).for_each(|_| links.push(Waits(Arc::clone(&going))));
        drop(links);
        assert_eq!(*going.0.lock().unwrap(), 20);
    }
}
