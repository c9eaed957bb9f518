//! The two text formats, which of them a client gets, and the way from one to the other.

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, which everything reads.
    Prometheus,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// OpenMetrics for a client that names it and does not like plain text better (RFC 9110,
    /// section 12.5.1); a wildcard names nothing.
    pub fn negotiate(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0f64, None);
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q" | "Q", value)) => quality = value.trim().parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            match media.as_str() {
                "application/openmetrics-text" if version.is_none_or(|it| it == "1.0.0") => {
                    open = quality.max(open);
                }
                "text/plain" => plain = quality.max(plain),
                _ => {}
            }
        }
        match open > 0.0 && open >= plain {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }
}

/// OpenMetrics text as Prometheus text 0.0.4: a counter's family is named with `_total`, and
/// `# UNIT` and `# EOF` are no lines of that format. Samples stay as they are.
pub fn to_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 4096);
    let mut rest = openmetrics;
    // A label value holds no raw newline, so a line that begins with # is never a part of one.
    while !rest.is_empty() {
        if rest.starts_with("# ") {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            comment(&mut text, line, after);
            rest = after;
        } else {
            let end = rest.find("\n# ").map_or(rest.len(), |at| at + 1);
            text.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    text
}

/// Writes one comment line; `after` is what follows it.
fn comment(text: &mut String, line: &str, after: &str) {
    let mut words = line.splitn(4, ' ').skip(1);
    let (keyword, name, rest) = (words.next(), words.next(), words.next());
    let (Some(keyword @ ("HELP" | "TYPE")), Some(name)) = (keyword, name) else {
        return;
    };
    let rest = rest.unwrap_or_default();
    let is_counter = match keyword {
        "TYPE" => rest == "counter",
        _ => after
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# TYPE "))
            .is_some_and(|line| line.strip_prefix(name) == Some(" counter")),
    };
    let suffix = if is_counter { "_total" } else { "" };
    let kind = match (keyword, rest) {
        ("TYPE", "unknown") => "untyped",
        ("TYPE", "info" | "stateset") => "gauge",
        _ => rest,
    };
    for part in ["# ", keyword, " ", name, suffix, " ", kind, "\n"] {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_openmetrics_only_when_it_names_it() {
        let cases = [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=0.1,text/plain;q=0.5", Format::Prometheus),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::negotiate(accept), expected, "{accept}");
        }
    }

    #[test]
    fn openmetrics_becomes_prometheus_text() {
        let openmetrics = "\
# HELP a_seconds How long.
# TYPE a_seconds counter
# UNIT a_seconds seconds
a_seconds_total{x=\"# TYPE a gauge\"} 1
a_seconds_total{x=\"\\n# EOF\"} 2
# HELP b It is.
# TYPE b gauge
b 3
# HELP c
# TYPE c unknown
c 4
# EOF
";
        let prometheus = "\
# HELP a_seconds_total How long.
# TYPE a_seconds_total counter
a_seconds_total{x=\"# TYPE a gauge\"} 1
a_seconds_total{x=\"\\n# EOF\"} 2
# HELP b It is.
# TYPE b gauge
b 3
# HELP c \n# TYPE c untyped
c 4
";
        assert_eq!(to_prometheus(openmetrics), prometheus);
        assert_eq!(to_prometheus(""), "");
    }
}
