//! The parameters of `/api/v1/leaks`.

use axum::extract::Query;
use axum::http::Uri;

use crate::output::filter::Filter;

/// Which sites, and how many at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaksQuery {
    pub filter: Filter,
    pub limit: Option<usize>,
}

/// Reads the query of a request; the error is one line that names the parameter.
pub fn parse(uri: &Uri) -> Result<LeaksQuery, String> {
    let Query(pairs): Query<Vec<(String, String)>> =
        Query::try_from_uri(uri).map_err(|_| "the query cannot be read".to_owned())?;
    let mut wanted = LeaksQuery::default();
    let mut seen = Vec::new();
    for (name, value) in pairs {
        if seen.contains(&name) {
            return Err(format!("{}: given twice", shown(&name)));
        }
        set(&mut wanted, &name, value).map_err(|error| format!("{}: {error}", shown(&name)))?;
        seen.push(name);
    }
    Ok(wanted)
}

fn set(wanted: &mut LeaksQuery, name: &str, value: String) -> Result<(), String> {
    let filter = &mut wanted.filter;
    match name {
        "kind" => filter.kind = Some(value.parse()?),
        "pid" => filter.pid = Some(number(&value)?),
        "comm" => filter.comm = Some(value),
        "namespace" => filter.namespace = Some(value),
        "site" => filter.site = Some(value),
        "limit" => wanted.limit = Some(number(&value)? as usize),
        _ => {
            return Err("unknown parameter: there are kind, pid, comm, namespace, site and limit".to_owned());
        }
    }
    Ok(())
}

fn number(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(0) | Err(_) => Err("must be a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A client's own text in an answer to it, short and on one line.
fn shown(name: &str) -> String {
    name.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlsclose_core::model::Kind;

    fn parse_text(query: &str) -> Result<LeaksQuery, String> {
        parse(&format!("/api/v1/leaks?{query}").parse().unwrap())
    }

    #[test]
    fn parameters_select_sites() {
        let wanted = parse_text("kind=reset_held&pid=7&comm=a%20b&namespace=shop&site=9f&limit=3");
        assert_eq!(
            wanted,
            Ok(LeaksQuery {
                filter: Filter {
                    kind: Some(Kind::ResetHeld),
                    pid: Some(7),
                    comm: Some("a b".to_owned()),
                    namespace: Some("shop".to_owned()),
                    site: Some("9f".to_owned()),
                },
                limit: Some(3),
            })
        );
        assert_eq!(parse_text(""), Ok(LeaksQuery::default()));
        assert_eq!(parse(&"/api/v1/leaks".parse().unwrap()), Ok(LeaksQuery::default()));
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let number = "must be a whole number of at least 1";
        let cases = [
            ("pid=x", format!("pid: {number}")),
            ("pid=-1", format!("pid: {number}")),
            ("pid=99999999999", format!("pid: {number}")),
            ("limit=0", format!("limit: {number}")),
            ("pid=1&pid=2", "pid: given twice".to_owned()),
            ("kind=x", "kind: unknown kind: the kinds are close_wait_eof_read, close_wait_unread, fin_wait2_held, reset_held, connect_failed_held, close_wait_not_accepted, close_wait_shared_fd, aborted_close, half_open, tls_truncated".to_owned()),
            ("x%0Ay=1", "x\\ny: unknown parameter: there are kind, pid, comm, namespace, site and limit".to_owned()),
        ];
        for (query, expected) in cases {
            assert_eq!(parse_text(query), Err(expected), "{query}");
        }
    }
}
