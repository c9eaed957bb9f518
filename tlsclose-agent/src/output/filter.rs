//! Which sites a client asked for, and in which order.

use clap::ValueEnum;

use crate::api::{AbortSite, HalfOpenSite, Listed, Report, Site, TlsSite, Who};
use tlsclose_core::model::Kind;

/// A selection of sites; what is not given selects everything.
///
/// A site is kept or left out as a whole: `pid`, `comm` and `namespace` keep a site when one of
/// its processes is so, and its numbers stay those of all its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub namespace: Option<String>,
    pub site: Option<String>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The most sockets.
    #[default]
    Count,
    /// The fastest growth.
    Rate,
    /// The oldest socket.
    Age,
}

impl Filter {
    pub fn matches(&self, site: &impl Listed) -> bool {
        let any = |test: &dyn Fn(Who<'_>) -> bool| site.processes().any(test);
        self.kind.is_none_or(|kind| site.kind() == kind)
            && self.site.as_ref().is_none_or(|id| site.site() == id)
            && self.pid.is_none_or(|pid| any(&|who| who.pid == pid))
            && self.comm.as_ref().is_none_or(|comm| site.is_of(comm))
            && self.namespace.as_ref().is_none_or(|namespace| {
                any(&|who| who.container.is_some_and(|container| container.namespace == *namespace))
            })
    }
}

/// Keeps what `filter` selects, sorts it, and cuts it to `limit` sites.
pub fn select(report: &mut Report, filter: &Filter, sort: Sort, limit: Option<usize>) {
    report.sites.retain(|site| filter.matches(site));
    order(&mut report.sites, sort);
    report.aborted_sites.retain(|site| filter.matches(site));
    order_aborts(&mut report.aborted_sites, sort);
    report.half_open_sites.retain(|site| filter.matches(site));
    order_half_open(&mut report.half_open_sites);
    report.tls_sites.retain(|site| filter.matches(site));
    order_tls(&mut report.tls_sites, sort);
    if let Some(limit) = limit {
        report.sites.truncate(limit);
        report.aborted_sites.truncate(limit);
        report.half_open_sites.truncate(limit);
        report.tls_sites.truncate(limit);
    }
}

/// The largest first, but before them those without descriptors; equals by site, so that the order is the same each time.
pub fn order(sites: &mut [Site], sort: Sort) {
    sites.sort_by(|a, b| {
        let by = match sort {
            Sort::Count => b.is_exhausted().cmp(&a.is_exhausted()).then(b.sockets.cmp(&a.sockets)),
            Sort::Rate => rate(b).total_cmp(&rate(a)),
            Sort::Age => b.oldest_seconds.total_cmp(&a.oldest_seconds),
        };
        by.then_with(|| a.site.cmp(&b.site)).then_with(|| a.kind.cmp(&b.kind))
    });
}

/// What is not known yet comes last.
fn rate(site: &Site) -> f64 {
    site.per_minute.unwrap_or(f64::NEG_INFINITY)
}

/// The largest first; they have no age, so that counts stand in for it.
pub fn order_aborts(sites: &mut [AbortSite], sort: Sort) {
    sites.sort_by(|a, b| {
        let by = match sort {
            Sort::Count | Sort::Age => b.aborted.cmp(&a.aborted),
            Sort::Rate => b.per_minute.total_cmp(&a.per_minute),
        };
        by.then_with(|| a.site.cmp(&b.site)).then_with(|| a.comm.cmp(&b.comm))
    });
}

/// The most sockets first: they have neither rate nor age.
pub fn order_half_open(sites: &mut [HalfOpenSite]) {
    sites.sort_by(|a, b| b.sockets.cmp(&a.sockets).then_with(|| a.site.cmp(&b.site)));
}

/// As for [`order_aborts`].
pub fn order_tls(sites: &mut [TlsSite], sort: Sort) {
    sites.sort_by(|a, b| {
        let by = match sort {
            Sort::Count | Sort::Age => b.outcomes.truncated.cmp(&a.outcomes.truncated),
            Sort::Rate => b.per_minute.total_cmp(&a.per_minute),
        };
        by.then_with(|| a.site.cmp(&b.site)).then_with(|| a.comm.cmp(&b.comm))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn sites(filter: Filter, sort: Sort, limit: Option<usize>) -> Vec<String> {
        let mut report = sample::report();
        select(&mut report, &filter, sort, limit);
        report.sites.into_iter().map(|site| site.site).collect()
    }

    #[test]
    fn a_filter_keeps_the_sites_it_names() {
        let text = |text: &str| Some(text.to_owned());
        let big = sample::SITE;
        let small = sample::OTHER_SITE;
        let cases: [(Filter, &[&str]); 8] = [
            (Filter::default(), &[big, small]),
            (Filter { kind: Some(Kind::FinWait2Held), ..Filter::default() }, &[small]),
            (Filter { pid: Some(4117), ..Filter::default() }, &[big]),
            (Filter { pid: Some(1), ..Filter::default() }, &[]),
            (Filter { comm: text("payments"), ..Filter::default() }, &[big]),
            (Filter { namespace: text("shop"), ..Filter::default() }, &[big]),
            (Filter { site: text(small), ..Filter::default() }, &[small]),
            (Filter { site: text(small), pid: Some(4117), ..Filter::default() }, &[]),
        ];
        for (filter, expected) in cases {
            assert_eq!(sites(filter.clone(), Sort::Count, None), expected, "{filter:?}");
        }
    }

    #[test]
    fn code_paths_on_tls_are_selected_like_leaks() {
        let kept = |filter: Filter| {
            let mut report = sample::report();
            report.tls_sites = vec![sample::truncating()];
            select(&mut report, &filter, Sort::Count, None);
            report.tls_sites.len()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(kept(Filter::default()), 1);
        assert_eq!(kept(Filter { kind: Some(Kind::TlsTruncated), ..Filter::default() }), 1);
        assert_eq!(kept(Filter { kind: Some(Kind::ResetHeld), ..Filter::default() }), 0);
        assert_eq!(kept(Filter { comm: text("payments"), pid: Some(4117), ..Filter::default() }), 1);
        assert_eq!(kept(Filter { comm: text("other"), ..Filter::default() }), 0);
        assert_eq!(kept(Filter { site: text(sample::TLS_SITE), ..Filter::default() }), 1);
        assert_eq!(kept(Filter { namespace: text("shop"), ..Filter::default() }), 0);
    }

    #[test]
    fn what_comes_first_is_what_was_asked_for() {
        let cases = [
            (Sort::Count, None, vec![sample::SITE, sample::OTHER_SITE]),
            (Sort::Rate, None, vec![sample::SITE, sample::OTHER_SITE]),
            (Sort::Age, None, vec![sample::OTHER_SITE, sample::SITE]),
            (Sort::Age, Some(1), vec![sample::OTHER_SITE]),
        ];
        for (sort, limit, expected) in cases {
            assert_eq!(sites(Filter::default(), sort, limit), expected, "{sort:?}");
        }
    }
}
