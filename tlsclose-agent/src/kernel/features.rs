//! What this host gives: each hook, and whether it is attached.

use super::hook::Hook;

/// A hook and whether it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedFeature {
    pub hook: Hook,
    pub available: bool,
    /// How that was found out.
    pub probe: String,
}

impl ProbedFeature {
    /// As the outputs show it.
    pub fn described(&self) -> crate::api::Feature {
        let spec = self.hook.spec();
        crate::api::Feature {
            name: spec.feature.to_owned(),
            available: self.available,
            probe: self.probe.clone(),
            needs: spec.needs.to_owned(),
            fallback: spec.fallback.to_owned(),
            without: if self.available { String::new() } else { spec.without.to_owned() },
        }
    }

    /// The hook does its work, as `how` says.
    pub fn works(hook: Hook, how: &str) -> Self {
        Self { hook, available: true, probe: format!("{}: {how}", hook.attach_point()) }
    }

    pub fn attached(hook: Hook) -> Self {
        Self::works(hook, "loaded and attached")
    }

    /// Something else does the same here.
    pub fn replaced(hook: Hook, by: &str) -> Self {
        Self::works(hook, &format!("not in this kernel; {by} in its place: loaded and attached"))
    }

    pub fn missing(hook: Hook, why: &str) -> Self {
        Self { hook, available: false, probe: format!("{}: {why}", hook.attach_point()) }
    }
}

/// The hook is among these, and does its work.
pub(super) fn is_available(features: &[ProbedFeature], hook: Hook) -> bool {
    features.iter().any(|one| one.hook == hook && one.available)
}
