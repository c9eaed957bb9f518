pub mod listen;
pub use listen::ListenAddress;
