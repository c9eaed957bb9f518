//! Harness of the on-kernel tests.
