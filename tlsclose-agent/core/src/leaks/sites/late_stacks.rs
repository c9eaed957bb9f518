//! Sockets whose stack was lost join the site of their process when that is known.

use super::{Place, Sites};
use crate::model::{
    Group, Kind, Moment, ProcessId,
    series_limit::{OTHER, UNSAMPLED},
};

impl Sites {
    /// A group of the process has a site: those of which a stack is missing may belong there, too.
    pub(super) fn join_those_without_stacks(&mut self, process: ProcessId, kind: Kind, now: Moment) {
        let Some(groups) = self.without_stacks.remove(&(process, kind)) else { return };
        let left: Vec<Group> = groups.into_iter().filter(|group| !self.join(*group, now)).collect();
        if !left.is_empty() {
            self.without_stacks.insert((process, kind), left);
        }
    }

    /// Whether the group could be moved to the only site that it fits. No series moves: its sockets end in one
    /// (`reclassified`) and begin in another.
    fn join(&mut self, group: Group, now: Moment) -> bool {
        let Some(site) = self.sibling(&group).filter(|site| site != UNSAMPLED && site != OTHER) else { return false };
        let Some(old) = self.place_of(&group).cloned() else { return true };
        let new = Place {
            site: super::SiteKey { site: site.clone(), ..old.site.clone() },
            series: (old.series.0.clone(), group.kind, site),
        };
        if !self.sites.contains_key(&new.site) || !self.series.contains_key(&new.series) {
            return false;
        }
        let (lingering, adopted) = self.lingering.get(&group).copied().unwrap_or_default();
        let fresh = lingering - adopted;
        if let Some(site) = self.sites.get_mut(&old.site) {
            site.account.left(fresh, adopted);
            site.base_line -= lingering.cast_signed();
        }
        if let Some(series) = self.series.get_mut(&old.series) {
            series.account.left(fresh, adopted);
        }
        if let Some(site) = self.sites.get_mut(&new.site) {
            site.account.joined(fresh, adopted);
            site.base_line += lingering.cast_signed();
        }
        if let Some(series) = self.series.get_mut(&new.series) {
            series.account.joined(fresh, adopted);
            series.alive_at = now;
        }
        self.places.insert(group, Some(new));
        true
    }
}
