//! The host that the agent runs on: its kernel, its rights, its containers and service managers.

mod activated;
mod btf;
mod containers;
mod deployed;
mod doctor;
mod lockdown;
mod read_hooks;
mod rights;
