//! The page at `/`: three files, all within the program, so that it works without a network.

/// The page, for an agent with its metrics at `metrics`, which holds nothing that HTML would read.
pub fn html(metrics: &str) -> String {
    include_str!("page/page.html").replace("@METRICS@", metrics).replace("@VERSION@", env!("CARGO_PKG_VERSION"))
}

pub const STYLE: &str = include_str!("page/page.css");
pub const SCRIPT: &str = include_str!("page/page.js");

/// What a browser may do for it: load the two files and ask this agent. Text never becomes markup.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                          require-trusted-types-for 'script'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_no_text_becomes_markup() {
        let page = html("/metrics");
        assert!(page.contains("href=\"/metrics\"") && !page.contains('@'), "{page}");
        let svg = "http://www.w3.org/2000/svg";
        for text in [&*page, STYLE, &SCRIPT.replace(svg, "")] {
            assert!(!text.contains("://"), "an address of another host");
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("] {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
        for inline in ["<style", " style=", "onclick=", "javascript:"] {
            assert!(!page.contains(inline), "{inline} needs a weaker policy");
        }
    }
}
