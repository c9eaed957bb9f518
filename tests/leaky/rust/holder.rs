//! The process under test: opens sockets, works on them, and forgets (or closes) them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::options::{Family, Options};
use crate::peer;
use crate::ways::{Accept, Connect, Open, Way};

pub fn run(way: &Way, options: &Options) -> io::Result<()> {
    let end = Instant::now() + options.lifetime;
    let held = Mutex::new(Vec::new());
    match way.open {
        Open::Accept(accept) => {
            let listener = TcpListener::bind(options.family.listen(options.port))?;
            let port = listener.local_addr()?.port();
            println!("listening {port}");
            println!("peer {}", peer::start(options, port, None)?.id());
            serve_all(&listener, accept, way, options, &held, end)?;
            wait_for_peers(&held)?;
            println!("ready {}", held_count(&held, options));
            rest(options, held, end);
            drop(listener);
        }
        Open::Connect(connect) => {
            // Of v4-mapped, the client's own socket is the mapped one.
            let family = if options.family == Family::Mapped { Family::V4 } else { options.family };
            let listener = TcpListener::bind(family.dial(options.port))?;
            let port = listener.local_addr()?.port();
            println!("listening {port}");
            println!("peer {}", peer::start(options, port, Some(listener))?.id());
            connect_all(options.family.dial(port), connect, way, options, &held)?;
            wait_for_peers(&held)?;
            println!("ready {}", held_count(&held, options));
            rest(options, held, end);
        }
    }
    Ok(())
}

/// Handlers on threads, or on the main thread so that the process stays single-threaded.
fn serve_all(
    listener: &TcpListener,
    accept: Accept,
    way: &Way,
    options: &Options,
    held: &Mutex<Vec<TcpStream>>,
    end: Instant,
) -> io::Result<()> {
    set_socket_timeout(listener, Timeout::Recv, Some(Duration::from_millis(200)))?;
    let taken = AtomicUsize::new(0);
    let serve = || -> io::Result<()> {
        while taken.load(Ordering::Relaxed) < options.count && Instant::now() < end {
            match accept(listener) {
                Ok(mut stream) => {
                    let number = taken.fetch_add(1, Ordering::Relaxed) + 1;
                    (way.handle)(&mut stream)?;
                    finish(stream, number, options, held);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    if options.threads == 0 {
        return serve();
    }
    thread::scope(|scope| {
        let handlers: Vec<_> = (0..options.threads).map(|_| scope.spawn(serve)).collect();
        handlers.into_iter().try_for_each(|handler| handler.join().expect("a handler panicked"))
    })
}

fn connect_all(
    server: SocketAddr,
    connect: Connect,
    way: &Way,
    options: &Options,
    held: &Mutex<Vec<TcpStream>>,
) -> io::Result<()> {
    let mut next = Instant::now();
    for number in 1..=options.count {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += options.pause();
        let mut stream = connect(server)?;
        (way.handle)(&mut stream)?;
        finish(stream, number, options, held);
    }
    Ok(())
}

/// Forgets the connection, or every so many of them.
fn finish(stream: TcpStream, number: usize, options: &Options, held: &Mutex<Vec<TcpStream>>) {
    if options.healthy || !number.is_multiple_of(options.leak_every) {
        close_finished(stream);
    } else {
        held.lock().expect("a handler panicked").push(stream);
    }
}

#[inline(never)]
fn close_finished(stream: TcpStream) {
    drop(stream); // LINE: close_finished closed
    // Else the compiler jumps to close() from here, and nothing remains of this function.
    std::hint::black_box(());
}

fn held_count(held: &Mutex<Vec<TcpStream>>, options: &Options) -> usize {
    if options.healthy { options.count } else { held.lock().expect("a handler panicked").len() }
}

/// Until the peer's last words are there, at most a second: a socket that waits for a silent peer
/// never sees any.
fn wait_for_peers(held: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(1);
    for stream in held.lock().expect("a handler panicked").iter() {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        poll(&mut [PollFd::new(stream, PollFlags::RDHUP)], Some(&timeout))?;
    }
    Ok(())
}

/// Recovers if so asked, and holds on until the end.
fn rest(options: &Options, held: Mutex<Vec<TcpStream>>, end: Instant) {
    if let Some(wait) = options.recover_after {
        thread::sleep(wait);
        held.lock().expect("a handler panicked").clear();
        println!("recovered");
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    drop(held);
}
