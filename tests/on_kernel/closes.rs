//! How connections end, and where programs close what they should.

mod aborts;
mod closers;
mod last_close;
mod tls;
mod tls_ends;
mod tls_libraries;
mod tls_peers;
mod usual_close;
