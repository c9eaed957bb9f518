//! Every transition, where that is asked for.

use aya::maps::{MapData, RingBuf};
use tlsclose_common::facts::Transition;

use super::{attach::Programs, load_error::LoadError, pod::read};

pub struct Stream(RingBuf<MapData>);

impl Stream {
    pub(super) fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        Ok(Self(programs.map("STREAM_RING")?))
    }

    /// Hands over every transition since this was called last.
    pub fn drain(&mut self, mut each: impl FnMut(Transition)) {
        while let Some(item) = self.0.next() {
            if let Some(transition) = read::<Transition>(&item) {
                each(transition);
            }
        }
    }
}
