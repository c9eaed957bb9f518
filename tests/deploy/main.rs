//! What operators install: the files in `deploy/`, checked by the tools that will read them.
#![forbid(unsafe_code)]

mod prometheus;
