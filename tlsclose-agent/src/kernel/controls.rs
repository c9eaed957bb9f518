//! What the programs are told about how to work.

use aya::maps::{Array, MapData};
use tlsclose_common::facts::Control;

use super::{attach::Programs, load_error::LoadError, options::Options, pod::Fact};

pub struct Controls {
    map: Array<MapData, Fact<Control>>,
    now: Control,
}

impl Controls {
    pub(super) fn of(programs: &mut Programs, options: &Options) -> Result<Self, LoadError> {
        let now = Control {
            any_armed: 0,
            stacks_per_second: options.stacks_per_second,
            agent_tgid: std::process::id(),
            census: 0,
            copies_per_second: options.copies_per_second,
            sees_all: u32::from(sees_all_processes()),
            census_began: 0,
            half_closed: u64::MAX,
            idle_after: 0,
            ticks_per_second: 0,
        };
        let mut controls = Self { map: programs.map("CONTROL")?, now };
        controls.write();
        Ok(controls)
    }

    pub(super) fn now(&self) -> &Control {
        &self.now
    }

    /// Changes what the programs are told.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Control)) {
        change(&mut self.now);
        self.write();
    }

    /// `half_closed`: entries of the exact map, if that is known.
    pub(super) fn begin_census(&mut self, half_closed: Option<u64>) {
        self.change(|now| {
            now.census = now.census.wrapping_add(1);
            now.census_began = crate::host::clock::now().0;
            now.half_closed = half_closed.unwrap_or(u64::MAX);
        });
    }

    pub(super) fn set_any_armed(&mut self, is_any: bool) {
        let any_armed = u32::from(is_any);
        if self.now.any_armed != any_armed {
            self.change(|now| now.any_armed = any_armed);
        }
    }

    /// Says how long a tick is. From now on a census shows established connections without keepalive
    /// on which nothing moved for `idle_after` seconds; 0: none.
    pub fn set_ticks(&mut self, per_second: u64, idle_after: f64) {
        self.change(|now| {
            now.ticks_per_second = per_second as u32;
            now.idle_after = (idle_after * per_second as f64).min(f64::from(i32::MAX)) as u32;
        });
    }

    /// A census sees every process of the host.
    pub fn sees_all(&self) -> bool {
        self.now.sees_all != 0
    }

    fn write(&mut self) {
        let now = Fact(self.now);
        if let Err(error) = self.map.set(0, now, 0) {
            log::warn!("cannot set the programs' controls: {error}");
        }
    }
}

/// This process is in the host's PID namespace, whose number is fixed (`PROC_PID_INIT_INO` in
/// include/linux/proc_ns.h): a census walks the tasks of its reader's namespace only.
fn sees_all_processes() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace.as_os_str() == "pid:[4026531836]")
}
