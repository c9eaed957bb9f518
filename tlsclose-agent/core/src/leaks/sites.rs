//! Which group of sockets belongs to which site and to which metric series, and their accounts.
//!
//! Pure bookkeeping: names come in as data. A group is placed once, and stays: a series never
//! moves. The accounts balance: what lingered = what ended + what still lingers; sockets that
//! were there before the agent are kept apart.

pub mod hour;
mod late_stacks;
mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rustc_hash::{FxHashMap, FxHashSet};

use self::hour::Hour;
pub use self::tally::{Account, Tally};
use crate::{
    leaks::{
        tracker::Socket,
        verdict::{Count, Descriptors, History},
    },
    model::{
        Change, Group, Kind, Moment, PathId, ProcessId, Status, Touch, Workload,
        series_limit::{self, Limits, OTHER, RETENTION, UNSAMPLED},
    },
};

/// What attribution says of a group.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Labels of its series.
    pub identity: Workload,
    /// Path of the program.
    pub exe: String,
    /// Site of its code paths; None when they do not say what the cause is.
    pub site: Option<String>,
    /// The call that opened the sockets; None when its stack is not known.
    pub opened: Option<Touch>,
    /// The call that last touched them; None when its stack is not known.
    pub touched: Option<Touch>,
    /// `gnu:` and the build id of the program's own file in hexadecimal; None when no frame lies in that file.
    pub build: Option<String>,
}

/// A site, for each program: `unsampled` sockets of two programs are two sites.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey {
    /// Id of the site, `unsampled` or `~other`.
    pub site: String,
    /// What is wrong with its sockets.
    pub kind: Kind,
    /// Path of the program; empty for `~other`.
    pub exe: String,
}

/// What tells series apart: whose the sockets are, what is wrong with them, and the label of their site.
pub type SeriesKey = (Workload, Kind, String);

/// What is known of one site.
#[derive(Clone, Debug, Default)]
pub struct SiteRecord {
    /// The call that opened its sockets; None where that is not known, or not the same for all of them.
    pub opened: Option<Touch>,
    /// The call that last touched them; None where that is not known, or not the same for all of them.
    pub touched: Option<Touch>,
    /// As in [`Described::build`], in the order in which they were met; 16 at most.
    pub builds: Vec<String>,
    /// What has been since the agent started.
    pub account: Account,
    /// From which its status is judged.
    pub history: History,
    /// The line that the page draws.
    pub hour: Hour,
    /// As of the last census; None before the first one that counted it.
    pub status: Option<Status>,
    /// What lingers now, as of the last census.
    pub now: Tally,
    /// The same for each process that has some.
    pub processes: BTreeMap<ProcessId, Tally>,
    /// Sockets that came without having begun here, less those that left without having ended.
    base_line: i64,
}

impl SiteRecord {
    /// The processes with lingering sockets, those with the most first.
    pub fn largest(&self) -> impl Iterator<Item = (ProcessId, u64)> {
        let mut processes: Vec<_> = self.processes.iter().map(|(id, tally)| (*id, tally.lingering)).collect();
        processes.sort_by_key(|(_, lingering)| std::cmp::Reverse(*lingering));
        processes.into_iter()
    }
}

/// What is known of one exported series.
#[derive(Clone, Debug, Default)]
pub struct SeriesRecord {
    /// What has been since the agent started.
    pub account: Account,
    /// What lingers now, as of the last census.
    pub now: Tally,
    /// How many of them are at sites that leak.
    pub leaking: u64,
    /// When a process of it was last alive.
    pub alive_at: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    site: SiteKey,
    series: SeriesKey,
}

/// The sites, the series, and which group of sockets belongs where.
pub struct Sites {
    limits: Limits,
    /// None: the configuration ignores the group.
    places: FxHashMap<Group, Option<Place>>,
    /// Groups that have lingering sockets now, and how many, with how many of them are adopted.
    lingering: FxHashMap<Group, (u64, u64)>,
    /// Groups of which a stack is missing, and which have no site for that.
    without_stacks: FxHashMap<(ProcessId, Kind), Vec<Group>>,
    /// Every site, at most [`Limits::sites`] beside `~other` of each kind.
    pub sites: BTreeMap<SiteKey, SiteRecord>,
    /// Every series, at most [`Limits::series`] beside `~other` of each kind.
    pub series: BTreeMap<SeriesKey, SeriesRecord>,
}

impl Sites {
    /// No sites yet; `limits` bounds how many are told apart.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: FxHashMap::default(),
            lingering: FxHashMap::default(),
            without_stacks: FxHashMap::default(),
            sites: BTreeMap::new(),
            series: BTreeMap::new(),
        }
    }

    /// The configuration wants to hear nothing of the group.
    pub fn ignore(&mut self, group: Group) {
        self.places.insert(group, None);
    }

    /// [`Self::ignore`] was called for the group.
    pub fn ignores(&self, group: &Group) -> bool {
        matches!(self.places.get(group), Some(None))
    }

    /// Label of the site that the group belongs to.
    pub fn site_of(&self, group: &Group) -> Option<&str> {
        Some(&self.place_of(group)?.site.site)
    }

    /// The code paths that opened the sockets of each site, as far as they are known.
    pub fn openings(&self) -> BTreeMap<SiteKey, BTreeSet<PathId>> {
        let mut openings: BTreeMap<SiteKey, BTreeSet<PathId>> = BTreeMap::new();
        let placed = self.places.iter().filter_map(|(group, place)| Some((group.opened, place.as_ref()?)));
        for (opened, place) in placed.filter(|(opened, _)| *opened != PathId::NONE) {
            openings.entry(place.site.clone()).or_default().insert(opened);
        }
        openings
    }

    /// The site of the group, and the workload that its series is of.
    pub fn home(&self, group: &Group) -> Option<(&SiteKey, &Workload)> {
        self.place_of(group).map(|place| (&place.site, &place.series.0))
    }

    fn place_of(&self, group: &Group) -> Option<&Place> {
        self.places.get(group)?.as_ref()
    }

    /// The group has been placed, or is ignored.
    pub fn knows(&self, group: &Group) -> bool {
        self.places.contains_key(group)
    }

    /// The only placed group of the same process and kind with full code paths that agrees with
    /// what is known of `group`: where a socket belongs whose stack was not sampled.
    pub fn sibling(&self, group: &Group) -> Option<String> {
        let agrees = |known: PathId, theirs: PathId| known == PathId::NONE || known == theirs;
        let mut sites = self.places.iter().filter_map(|(other, place)| {
            let place = place.as_ref()?;
            let fits = other.process == group.process
                && other.kind == group.kind
                && other.is_complete()
                && agrees(group.opened, other.opened)
                && agrees(group.touched, other.touched);
            fits.then_some(&place.site.site)
        });
        let first = sites.next()?;
        sites.all(|site| site == first).then(|| first.clone())
    }

    /// Places a group. Its series starts at 0.
    pub fn place(&mut self, group: Group, described: Described, now: Moment) {
        let label = described.site.unwrap_or_else(|| UNSAMPLED.to_owned());
        let mut site = SiteKey { site: label.clone(), kind: group.kind, exe: described.exe };
        let mut series = (described.identity, group.kind, label);
        let crowded = !self.sites.contains_key(&site) && self.sites.len() >= self.limits.sites;
        if crowded || (!self.series.contains_key(&series) && self.series.len() >= self.limits.series) {
            series = (series_limit::other(), group.kind, OTHER.to_owned());
            if crowded {
                site = SiteKey { site: OTHER.to_owned(), kind: group.kind, exe: String::new() };
            }
        }
        let is_first = !self.sites.contains_key(&site);
        let record = self.sites.entry(site.clone()).or_default();
        if site.site == UNSAMPLED {
            // No path of its own: its groups may come from anywhere.
            let shared = |all: Option<Touch>, this: Option<Touch>| match is_first {
                true => this,
                false => all.filter(|all| this.is_some_and(|this| this.is_same_path(all))),
            };
            record.opened = shared(record.opened.take(), described.opened);
            record.touched = shared(record.touched.take(), described.touched);
        } else if site.site != OTHER {
            record.opened = record.opened.take().or(described.opened);
            record.touched = record.touched.take().or(described.touched);
            if let Some(build) = described.build
                && !record.builds.contains(&build)
                && record.builds.len() < 16
            {
                record.builds.push(build);
            }
        }
        self.series.entry(series.clone()).or_default().alive_at = now;
        let is_unsampled = site.site == UNSAMPLED;
        self.places.insert(group, Some(Place { site, series }));
        if group.is_complete() {
            self.join_those_without_stacks(group.process, group.kind, now);
        } else if is_unsampled {
            self.without_stacks.entry((group.process, group.kind)).or_default().push(group);
        }
    }

    /// Books what a census changed. Changes of groups that were never placed are not possible:
    /// a group is placed before it may linger.
    pub fn book(&mut self, changes: &[Change]) {
        for change in changes {
            let (Change::Began { group, .. } | Change::Ended { group, .. }) = change;
            let Some(Some(place)) = self.places.get(group) else { continue };
            let site = self.sites.get_mut(&place.site);
            let series = self.series.get_mut(&place.series);
            if let Some(site) = site {
                if let Change::Ended { how, began, adopted, .. } = *change {
                    site.history.ended(how, began, adopted);
                }
                if let Change::Began { adopted: true, .. } = change {
                    site.base_line += 1;
                }
                site.account.book(change);
            }
            if let Some(series) = series {
                series.account.book(change);
            }
        }
    }

    /// Counts the lingering sockets anew and lets every site's history judge them.
    pub fn tally<'a>(
        &mut self,
        now: Moment,
        window: Duration,
        sockets: impl Iterator<Item = &'a Socket>,
        mut descriptors: impl FnMut(ProcessId) -> (u64, u64),
    ) {
        let mut groups: FxHashMap<Group, Tally> = FxHashMap::default();
        for socket in sockets.filter(|socket| socket.lingering_since.is_some()) {
            groups.entry(socket.group).or_default().add(socket);
        }
        for site in self.sites.values_mut() {
            site.now = Tally::default();
            site.processes.clear();
        }
        for series in self.series.values_mut() {
            series.now = Tally::default();
            series.leaking = 0;
        }
        for (group, tally) in &groups {
            let Some(Some(place)) = self.places.get(group) else { continue };
            if let Some(site) = self.sites.get_mut(&place.site) {
                site.now.merge(tally);
                site.processes.entry(group.process).or_default().merge(tally);
            }
            if let Some(series) = self.series.get_mut(&place.series) {
                series.now.merge(tally);
            }
        }
        for site in self.sites.values_mut() {
            site.hour.update(now, site.now.lingering);
            let fullness = fullest(&site.processes, &mut descriptors);
            let count = Count { lingering: site.now.lingering, adopted: site.now.adopted, base_line: site.base_line };
            site.status = Some(site.history.update(now, count, window, fullness));
        }
        let counts = groups.iter().map(|(group, tally)| (*group, (tally.lingering, tally.adopted)));
        self.lingering = counts.collect();
        for (group, tally) in &groups {
            let Some(Some(place)) = self.places.get(group) else { continue };
            let leaking = self.sites.get(&place.site).and_then(|site| site.status) == Some(Status::Leaking);
            if leaking && let Some(series) = self.series.get_mut(&place.series) {
                series.leaking += tally.lingering;
            }
        }
    }

    /// Drops what belongs to processes that are long gone.
    pub fn forget(&mut self, now: Moment, mut is_alive: impl FnMut(ProcessId) -> bool) {
        let mut alive: FxHashMap<ProcessId, bool> = FxHashMap::default();
        for (group, place) in &self.places {
            let lives = *alive.entry(group.process).or_insert_with(|| is_alive(group.process));
            if lives
                && let Some(place) = place
                && let Some(series) = self.series.get_mut(&place.series)
            {
                series.alive_at = now;
            }
        }
        self.series.retain(|_, series| series.now.lingering > 0 || now.since(series.alive_at) < RETENTION);
        let is_alive = |group: &Group| alive.get(&group.process).copied().unwrap_or(false);
        let (series, lingering) = (&self.series, &self.lingering);
        // Of all the groups of the dead, one is enough to keep a site and its series together.
        let mut kept: FxHashSet<Place> = FxHashSet::default();
        kept.extend(self.places.iter().filter(|(group, _)| is_alive(group)).filter_map(|(_, place)| place.clone()));
        self.places.retain(|group, place| {
            let is_needed = |place: &Place| {
                series.contains_key(&place.series) && (lingering.contains_key(group) || kept.insert(place.clone()))
            };
            is_alive(group) || place.as_ref().is_some_and(is_needed)
        });
        let places = &self.places;
        self.without_stacks.retain(|_, groups| {
            groups.retain(|group| places.contains_key(group));
            !groups.is_empty()
        });
        let used: BTreeSet<&SiteKey> = self.places.values().flatten().map(|place| &place.site).collect();
        self.sites.retain(|key, site| site.now.lingering > 0 || used.contains(key));
    }
}

/// The process that is nearest to its limit, of those that the site's sockets fill; else any of them. One idle
/// neighbour with more sockets does not hide it.
fn fullest(
    processes: &BTreeMap<ProcessId, Tally>,
    mut descriptors: impl FnMut(ProcessId) -> (u64, u64),
) -> Descriptors {
    let each = processes.iter().map(|(process, tally)| {
        let (open, limit) = descriptors(*process);
        Descriptors { sockets: tally.lingering, open, limit }
    });
    each.max_by_key(|it| (it.are_running_out(), it.sockets)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
