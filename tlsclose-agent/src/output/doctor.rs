//! What a host allows: the answer of `/api/v1/doctor` and the table of `tlsclose doctor`.

use serde::{Deserialize, Serialize};

use crate::api::SCHEMA;
use crate::api::{Feature, Snapshot};
use crate::host::facts::HostFact;
use tlsclose_core::model::escape;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    pub schema: u32,
    pub kernel: String,
    /// The agent can run here, with what is available.
    pub can_run: bool,
    /// See [`conclusion`].
    pub conclusion: String,
    pub features: Vec<Feature>,
    pub host: Vec<HostFact>,
}

impl Doctor {
    /// Of a host where the agent runs.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            schema: SCHEMA,
            kernel: snapshot.report.kernel.clone(),
            can_run: true,
            conclusion: conclusion(None, &snapshot.features, &snapshot.host),
            features: snapshot.features.clone(),
            host: snapshot.host.clone(),
        }
    }

    /// One line for each fact of the host and for each feature, below it what its absence costs, and
    /// the conclusion.
    pub fn table(&self) -> String {
        let names = self.features.iter().map(|feature| &feature.name).chain(self.host.iter().map(|fact| &fact.name));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for fact in &self.host {
            text += &format!("host {:<width$}  {}\n", escape(&fact.name), escape(&fact.found));
            if !fact.costs.is_empty() {
                text += &format!("{}{}\n", " ".repeat(width + 7), escape(&fact.costs));
            }
        }
        for feature in &self.features {
            let found = if feature.available { "yes" } else { "no" };
            let (name, probe) = (escape(&feature.name), escape(&feature.probe));
            text += &format!("{found:<3}  {name:<width$}  {probe}\n");
            let indent = " ".repeat(width + 7);
            if !feature.available && !feature.needs.is_empty() {
                let or = if feature.fallback.is_empty() { "" } else { "; or " };
                text += &format!("{indent}needs: {}{or}{}\n", escape(&feature.needs), escape(&feature.fallback));
            }
            if !feature.without.is_empty() {
                text += &format!("{indent}without it: {}\n", escape(&feature.without));
            }
        }
        text + &format!("\nkernel {}: {}\n", escape(&self.kernel), escape(&self.conclusion))
    }
}

/// `full`, `reduced: …` with what is lost, or `cannot run: …` with why.
pub fn conclusion(refusal: Option<&str>, features: &[Feature], host: &[HostFact]) -> String {
    if let Some(why) = refusal {
        return format!("cannot run: {why}");
    }
    let lost = features.iter().filter(|feature| !feature.available).map(|feature| feature.without.as_str());
    let is_of_agent = |fact: &&HostFact| matches!(fact.name.as_str(), "pid_namespace" | "capabilities" | "lsm");
    let unseen = host.iter().filter(is_of_agent).map(|fact| fact.costs.as_str());
    let costs: Vec<&str> = lost.chain(unseen).filter(|costs| !costs.is_empty()).collect();
    if costs.is_empty() { "full".to_owned() } else { format!("reduced: {}", costs.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn the_table_says_what_is_missing_and_what_that_costs() {
        let mut doctor = Doctor::of(&sample::snapshot());
        assert_eq!(
            doctor.table(),
            "\
host pid_namespace  a container's
                    only 12 processes are seen
yes  census         iter/task_file loads
no   eof_stacks     no tracepoint sock_recv_length
                    needs: tp_btf/sock_recv_length (6.3); or fexit/tcp_recvmsg
                    without it: no stack of the read that returned 0

kernel 6.12.117: reduced: no stack of the read that returned 0; only 12 processes are seen
"
        );
        doctor.conclusion = conclusion(Some("no BTF"), &doctor.features, &doctor.host);
        assert!(doctor.table().ends_with("kernel 6.12.117: cannot run: no BTF\n"));
        assert_eq!(conclusion(None, &doctor.features[..1], &[]), "full");
    }
}
