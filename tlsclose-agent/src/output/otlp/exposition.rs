//! Reads the agent's own OpenMetrics text back. It knows what `/metrics` writes, and no more.

/// A family: its head and its samples, in their order.
#[derive(Debug, PartialEq)]
pub struct Family<'a> {
    pub name: &'a str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'a str,
    pub help: &'a str,
    pub samples: Vec<Sample<'a>>,
}

#[derive(Debug, PartialEq)]
pub struct Sample<'a> {
    /// What follows the family's name: `_total`, `_bucket`, `_sum`, `_count` or nothing.
    pub suffix: &'a str,
    pub labels: Vec<(&'a str, String)>,
    /// As it is written.
    pub value: &'a str,
}

impl<'a> Sample<'a> {
    pub fn number(&self) -> f64 {
        // What the agent writes is a number.
        self.value.parse().unwrap_or(f64::NAN)
    }
}

pub fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    // A newline in a label's value is escaped, so each line is whole.
    for line in text.split('\n') {
        if let Some(head) = line.strip_prefix("# HELP ") {
            let (name, help) = head.split_once(' ').unwrap_or((head, ""));
            families.push(Family { name, kind: "", help, samples: Vec::new() });
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap_or((head, ""));
            match families.last_mut() {
                Some(family) if family.name == name => family.kind = kind,
                _ => families.push(Family { name, kind, help: "", samples: Vec::new() }),
            }
        } else if !line.starts_with('#')
            && let Some(family) = families.last_mut()
        {
            family.samples.extend(sample(line, family.name));
        }
    }
    families
}

/// `name_suffix{label="value",…} number`
fn sample<'a>(line: &'a str, family: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let end = rest.find(['{', ' '])?;
    let (suffix, mut rest) = rest.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = unquoted(after)?;
            labels.push((name, value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    Some(Sample { suffix, labels, value: rest.trim() })
}

/// A value up to its closing quote, and what follows that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let text = "# HELP a_seconds How long, in \"s\".\n# TYPE a_seconds counter\na_seconds_total{x=\"1\",y=\"\"} 2.5\n\
                    # HELP b It is.\n# TYPE b gauge\nb 3\n# HELP c None.\n# TYPE c gauge\n# EOF\n";
        let read = families(text);
        let sample = |suffix, labels: &[(&'static str, &str)], value| Sample {
            suffix,
            labels: labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            value,
        };
        assert_eq!(read.len(), 3);
        assert_eq!((read[0].name, read[0].kind, read[0].help), ("a_seconds", "counter", "How long, in \"s\"."));
        assert_eq!(read[0].samples, [sample("_total", &[("x", "1"), ("y", "")], "2.5")]);
        assert_eq!(read[1].samples, [sample("", &[], "3")]);
        assert_eq!((read[2].kind, read[2].samples.len()), ("gauge", 0));
    }

    #[test]
    fn hostile_values_stay_values() {
        let hostile = "a\"} 1\nb\\{x=\"é,";
        let escaped = hostile.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let text = format!("# HELP a A.\n# TYPE a gauge\na{{comm=\"{escaped}\",site=\"s\"}} 7\n");
        let read = families(&text);
        assert_eq!(read[0].samples[0].labels, [("comm", hostile.to_owned()), ("site", "s".to_owned())]);
        assert_eq!(read[0].samples[0].number(), 7.0);
    }
}
