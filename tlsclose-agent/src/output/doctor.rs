//! What a host allows: the answer of `/api/v1/doctor` and the table of `tlsclose doctor`.

use serde::{Deserialize, Serialize};

use super::escape::escape;
use crate::finding::SCHEMA;
use crate::snapshot::{Feature, Snapshot};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    pub schema: u32,
    pub kernel: String,
    /// The agent can run here, with what is available.
    pub can_run: bool,
    pub features: Vec<Feature>,
}

impl Doctor {
    /// Of a host where the agent runs.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            schema: SCHEMA,
            kernel: snapshot.report.kernel.clone(),
            can_run: true,
            features: snapshot.features.clone(),
        }
    }

    /// One line for each feature, below it what its absence costs, and the conclusion.
    pub fn table(&self) -> String {
        let width = self.features.iter().map(|feature| feature.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for feature in &self.features {
            let found = if feature.available { "yes" } else { "no" };
            let (name, probe) = (escape(&feature.name), escape(&feature.probe));
            text += &format!("{found:<3}  {name:<width$}  {probe}\n");
            if !feature.without.is_empty() {
                let indent = " ".repeat(width + 7);
                text += &format!("{indent}without it: {}\n", escape(&feature.without));
            }
        }
        let missing = self.features.iter().filter(|it| !it.available).count();
        let kernel = escape(&self.kernel);
        text += &match (self.can_run, missing) {
            (true, 0) => format!("\nThe agent can run here (kernel {kernel}), with everything.\n"),
            (true, 1) => {
                format!("\nThe agent can run here (kernel {kernel}), with one feature missing.\n")
            }
            (true, missing) => {
                format!("\nThe agent can run here (kernel {kernel}), with {missing} features missing.\n")
            }
            (false, _) => format!("\nThe agent cannot run here (kernel {kernel}).\n"),
        };
        text
    }
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
yes  census      iter/task_file loads
no   eof_stacks  no tracepoint sock_recv_length
                 without it: no stack of the read that returned 0

The agent can run here (kernel 6.12.117), with one feature missing.
"
        );
        doctor.can_run = false;
        assert!(doctor.table().ends_with("The agent cannot run here (kernel 6.12.117).\n"));
        doctor.features.clear();
        doctor.can_run = true;
        assert_eq!(doctor.table(), "\nThe agent can run here (kernel 6.12.117), with everything.\n");
    }
}
