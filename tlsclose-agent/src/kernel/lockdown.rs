//! Whether programs may read kernel memory of which only the address is known: lockdown=confidentiality
//! forbids the helper for that (`LOCKDOWN_BPF_READ_KERNEL` in kernel/trace/bpf_trace.c). Loads through
//! pointers whose types the verifier knows are no such reading.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{features::ProbedFeature, hook::Hook};

pub(super) const FORBIDDEN: &str = "this host forbids bpf_probe_read_kernel (lockdown=confidentiality)";

/// aya takes this helper for one that comes and goes with the other.
const TAKEN_AWAY: &str = "not used where bpf_probe_read_kernel is forbidden (lockdown=confidentiality)";

/// What finds its sockets, files or names by their addresses, besides the calls of close(), or reads a program's memory.
const BY_ADDRESS: [Hook; 5] = [Hook::Accept, Hook::Accept4, Hook::Unheld, Hook::PythonThreads, Hook::TlsRecords];

/// Asks the kernel with a program that does nothing else. Where it does not say, loading will.
pub(super) fn is_allowed() -> bool {
    is_helper_supported(ProgramType::TracePoint, BpfHelper::BPF_FUNC_probe_read_kernel).unwrap_or(true)
}

/// Adds what all this costs; of the hooks at accept, what is left are the calls that fail.
pub(super) fn judge(features: &mut Vec<ProbedFeature>, is_allowed: bool) {
    if is_allowed {
        features.extend([Hook::AcceptQueues, Hook::Callers].map(|hook| ProbedFeature::works(hook, "allowed")));
        return;
    }
    features.push(ProbedFeature::missing(Hook::AcceptQueues, FORBIDDEN));
    features.push(ProbedFeature::missing(Hook::Callers, TAKEN_AWAY));
    for feature in features.iter_mut().filter(|one| one.available && BY_ADDRESS.contains(&one.hook)) {
        *feature = ProbedFeature::missing(feature.hook, FORBIDDEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_addresses_is_missing_where_they_may_not_be_read() {
        let attached = || [Hook::Accept4, Hook::Socket, Hook::Census].map(ProbedFeature::attached).to_vec();
        let available = |features: &[ProbedFeature]| features.iter().map(|one| one.available).collect::<Vec<_>>();
        let mut features = attached();
        judge(&mut features, true);
        assert_eq!(available(&features), [true; 5]);
        let mut features = attached();
        judge(&mut features, false);
        assert_eq!(available(&features), [false, true, true, false, false]);
        assert_eq!(features[0].probe, format!("sys_exit_accept4: {FORBIDDEN}"));
        assert_eq!([3, 4].map(|i: usize| features[i].hook.spec().feature), ["accept_queues", "callers"]);
    }
}
