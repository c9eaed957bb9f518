//! Each way to leak: the code path that opens the socket and the one that last touches it.
//! Tests find the line numbers by the `LINE:` comments, so these may move but not leave their call.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

pub type Accept = fn(&TcpListener) -> io::Result<TcpStream>;
pub type Connect = fn(SocketAddr) -> io::Result<TcpStream>;

pub enum Open {
    Accept(Accept),
    Connect(Connect),
}

pub struct Way {
    pub open: Open,
    pub handle: fn(&mut TcpStream) -> io::Result<()>,
}

pub const NAMES: [&str; 7] =
    ["eof_forget", "inlined_forget", "never_read", "half_close", "reset_forget", "client_forget", "client_half_close"];

pub fn find(name: &str) -> Option<Way> {
    let (open, handle): (Open, fn(&mut TcpStream) -> io::Result<()>) = match name {
        "eof_forget" => (Open::Accept(eof_forget_accept), eof_forget_handle),
        "inlined_forget" => (Open::Accept(inlined_forget_accept), inlined_forget_handle),
        "never_read" => (Open::Accept(never_read_accept), never_read_handle),
        "half_close" => (Open::Accept(half_close_accept), half_close_handle),
        "reset_forget" => (Open::Accept(reset_forget_accept), reset_forget_handle),
        "client_forget" => (Open::Connect(client_forget_connect), client_forget_handle),
        "client_half_close" => (Open::Connect(client_half_close_connect), client_half_close_handle),
        _ => return None,
    };
    Some(Way { open, handle })
}

/// Optimisers merge functions of equal code; a number of its own keeps each one apart.
#[inline(always)]
fn distinct(line: u32) {
    std::hint::black_box(line);
}

// The peer closes; we read until 0 and forget the socket.

#[inline(never)]
fn eof_forget_accept(listener: &TcpListener) -> io::Result<TcpStream> {
    distinct(line!());
    let (stream, _) = listener.accept()?; // LINE: eof_forget opened
    Ok(stream)
}

#[inline(never)]
fn eof_forget_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    let mut buffer = [0; 512];
    loop {
        let got = stream.read(&mut buffer)?; // LINE: eof_forget touched
        if got == 0 {
            return Ok(());
        }
    }
}

// The same through functions that the compiler inlines.

#[inline(always)]
fn inlined_forget_open(listener: &TcpListener) -> io::Result<TcpStream> {
    distinct(line!());
    let (stream, _) = listener.accept()?; // LINE: inlined_forget opened
    Ok(stream)
}

#[inline(never)]
fn inlined_forget_accept(listener: &TcpListener) -> io::Result<TcpStream> {
    distinct(line!());
    let stream = inlined_forget_open(listener)?; // LINE: inlined_forget opened caller
    Ok(stream)
}

#[inline(always)]
fn inlined_forget_read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    distinct(line!());
    stream.read(buffer) // LINE: inlined_forget touched
}

#[inline(never)]
fn inlined_forget_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    let mut buffer = [0; 512];
    loop {
        let got = inlined_forget_read(stream, &mut buffer)?; // LINE: inlined_forget touched caller
        if got == 0 {
            return Ok(());
        }
    }
}

// We answer one request and never read again; the peer sends more and closes.

#[inline(never)]
fn never_read_accept(listener: &TcpListener) -> io::Result<TcpStream> {
    distinct(line!());
    let (stream, _) = listener.accept()?; // LINE: never_read opened
    Ok(stream)
}

#[inline(never)]
fn never_read_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    answer_ping(stream)
}

// We end our side and wait for a peer that stays silent.

#[inline(never)]
fn half_close_accept(listener: &TcpListener) -> io::Result<TcpStream> {
    distinct(line!());
    let (stream, _) = listener.accept()?; // LINE: half_close opened
    Ok(stream)
}

#[inline(never)]
fn half_close_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    answer_ping(stream)?;
    let ended = stream.shutdown(Shutdown::Write); // LINE: half_close touched
    ended
}

// The peer resets; we see the error and forget the socket.

#[inline(never)]
fn reset_forget_accept(listener: &TcpListener) -> io::Result<TcpStream> {
    distinct(line!());
    let (stream, _) = listener.accept()?; // LINE: reset_forget opened
    Ok(stream)
}

#[inline(never)]
fn reset_forget_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    answer_ping(stream)?;
    let mut buffer = [0; 512];
    loop {
        let got = stream.read(&mut buffer); // LINE: reset_forget touched
        if !matches!(got, Ok(1..)) {
            return Ok(());
        }
    }
}

// Client side: the server closes; we read until 0 and forget the socket.

#[inline(never)]
fn client_forget_connect(server: SocketAddr) -> io::Result<TcpStream> {
    distinct(line!());
    let stream = TcpStream::connect(server)?; // LINE: client_forget opened
    Ok(stream)
}

#[inline(never)]
fn client_forget_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    let mut buffer = [0; 512];
    loop {
        let got = stream.read(&mut buffer)?; // LINE: client_forget touched
        if got == 0 {
            return Ok(());
        }
    }
}

// Client side: we end our side and wait for a server that stays silent.

#[inline(never)]
fn client_half_close_connect(server: SocketAddr) -> io::Result<TcpStream> {
    distinct(line!());
    let stream = TcpStream::connect(server)?; // LINE: client_half_close opened
    Ok(stream)
}

#[inline(never)]
fn client_half_close_handle(stream: &mut TcpStream) -> io::Result<()> {
    distinct(line!());
    stream.write_all(b"ping")?;
    let ended = stream.shutdown(Shutdown::Write); // LINE: client_half_close touched
    ended
}

#[inline(never)]
fn answer_ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 4])?;
    stream.write_all(b"pong")
}
