//! The Prometheus text format, read strictly.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// # Panics
    /// On a line that is no comment and no sample.
    pub fn parse(text: &str) -> Metrics {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(lines.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect())
    }

    /// Samples of a metric that have all the given labels.
    pub fn select(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &Sample| {
            labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|label| label == value))
        };
        self.0.iter().filter(|sample| sample.name == name && has(sample)).collect()
    }

    /// The sum over them; None when there is no such sample.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.select(name, labels);
        (!samples.is_empty()).then(|| samples.iter().map(|sample| sample.value).sum())
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = match rest.strip_prefix(' ')?.split(' ').next()? {
        "+Inf" => f64::INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            (_, character) => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_and_without_labels() {
        let metrics = Metrics::parse("# HELP a b\na 1\na{x=\"1\",y=\"\"} 2.5\nb{le=\"+Inf\"} +Inf\n");
        assert_eq!(metrics.sum("a", &[]), Some(3.5));
        assert_eq!(metrics.sum("a", &[("x", "1"), ("y", "")]), Some(2.5));
        assert_eq!(metrics.sum("a", &[("x", "2")]), None);
        assert_eq!(metrics.sum("b", &[]), Some(f64::INFINITY));
    }

    #[test]
    fn escapes_in_label_values() {
        let metrics = Metrics::parse("a{comm=\"q\\\"b\\\\n\\n,}\",k=\"v\"} 1");
        assert_eq!(metrics.0[0].labels["comm"], "q\"b\\n\n,}");
        assert_eq!(metrics.0[0].labels["k"], "v");
    }

    #[test]
    #[should_panic(expected = "no sample")]
    fn an_unknown_escape_is_refused() {
        Metrics::parse("a{comm=\"\\x\"} 1");
    }
}
