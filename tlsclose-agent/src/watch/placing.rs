//! Gives groups of sockets their sites and series.

use std::collections::BTreeSet;

use crate::{attribution::containers::Whereabouts, watch::Watch};
use tlsclose_core::{
    leaks::{sites::Described, tracker::Socket},
    model::{Change, Group, Moment},
};

impl Watch {
    /// Gives every group that two censuses have shown its site and series, so that the series
    /// starts at 0 before the first of its sockets lingers.
    pub(super) fn place_all(&mut self, now: Moment) {
        let ready = |socket: &&Socket| socket.sightings >= 2 && socket.group.is_complete();
        let new: BTreeSet<Group> = self
            .tracker
            .sockets()
            .filter(ready)
            .map(|socket| socket.group)
            .filter(|group| !self.sites.knows(group))
            .collect();
        for group in new {
            // A series never moves: it begins when its names are known, or will not be.
            if matches!(self.attribution.whereabouts(group.process), Some(Whereabouts::Pending(_))) {
                continue;
            }
            // Nor does a site: its names come from files, of which one may still be being copied.
            if let Some(described) = self.attribution.describe(&group).filter(|described| !described.is_pending) {
                self.place(group, described.known, now);
            }
        }
    }

    /// Groups of which not all stacks are known wait until they linger: by then there may be a
    /// site of the same process that they belong to.
    pub(super) fn place_changed(&mut self, changes: &[Change], now: Moment) {
        for change in changes {
            let (Change::Began { group, .. } | Change::Ended { group, .. }) = change;
            if !self.sites.knows(group)
                && let Some(described) = self.attribution.describe(group)
            {
                self.place(*group, described.known, now);
            }
        }
    }

    fn place(&mut self, group: Group, mut described: Described, now: Moment) {
        if !group.is_complete()
            && let Some(site) = self.sites.sibling(&group)
        {
            described.site = Some(site);
            (described.opened, described.touched) = (None, None);
        }
        let rules = &self.settings.rules;
        let ignored = rules.for_process(&described.identity.comm, &described.exe, &described.identity.namespace).ignore
            || described.site.as_ref().is_some_and(|site| rules.for_site(site).ignore);
        if ignored {
            self.sites.ignore(group);
        } else {
            self.sites.place(group, described, now);
        }
    }
}
