//! Functions are short, and a question changes nothing.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Block, FnArg, ReceiverKind, Signature, Type};

use super::finding::Finding;
use super::source::Source;

/// Lines of a function, from `fn` to its last brace.
const LINES_MAX: usize = 60;

/// How the names of questions begin.
const QUESTIONS: [&str; 2] = ["is_", "has_"];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let mut functions = Functions { path: &source.path, findings: &mut findings };
        functions.visit_file(&source.syntax);
    }
    findings
}

struct Functions<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn look(&mut self, signature: &Signature, body: Option<&Block>) {
        let name = signature.ident.to_string();
        let line = signature.fn_token.span.start().line;
        let end = body.map_or_else(Span::call_site, |body| body.brace_token.span.close()).end().line;
        let lines = end.saturating_sub(line) + 1;
        if body.is_some() && lines > LINES_MAX {
            let todo = format!("'{name}' has {lines} lines: split it into functions of {LINES_MAX} or fewer");
            self.findings.push(Finding::new(self.path, line, "too-long", &name, todo));
        }
        let is_question = QUESTIONS.iter().any(|begin| name.starts_with(begin));
        if is_question && signature.inputs.iter().any(changes) {
            let todo = format!("'{name}' may change what it is asked about: take '&', or name what it does by a verb");
            self.findings.push(Finding::new(self.path, line, "question", &name, todo));
        }
    }
}

/// Whether an argument is lent to be changed.
fn changes(argument: &FnArg) -> bool {
    let is_mutable = |kind: &Type| matches!(kind, Type::Reference(reference) if reference.mutability.is_some());
    match argument {
        FnArg::Receiver(receiver) => match &receiver.kind {
            ReceiverKind::Reference(_, _, mutable) => mutable.is_some(),
            ReceiverKind::Typed(_, kind) => is_mutable(kind),
            _ => false,
        },
        FnArg::Typed(argument) => is_mutable(&argument.ty),
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look(&function.sig, Some(&function.block));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look(&function.sig, Some(&function.block));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.look(&function.sig, function.default.as_ref());
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, usize)> {
        let sources = [Source::parse("xtask/src/a.rs", text).expect("no Rust")];
        check(&sources).iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    fn function(lines: usize) -> String {
        format!("/// Not counted.\nfn f() {{\n{}}}\n", "    go();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_may_have_sixty_lines_and_no_more() {
        assert_eq!(found(&function(60)), []);
        assert_eq!(found(&function(61)), [("too-long", 2)]);
        assert_eq!(found(&format!("impl A {{\n{}}}", function(61))), [("too-long", 3)]);
        assert_eq!(found(&format!("mod m {{\n{}}}", function(61))), [("too-long", 3)]);
    }

    #[test]
    fn a_question_changes_nothing() {
        assert_eq!(found("impl A { fn is_a(&mut self) -> bool { true } }"), [("question", 1)]);
        assert_eq!(found("trait A { fn has_a<'a>(&'a mut self) -> bool; }"), [("question", 1)]);
        assert_eq!(found("fn is_a(\n    a: &mut u8) -> bool { true }"), [("question", 1)]);
        assert_eq!(found("impl A { fn is_a(&self) -> bool { true } fn has_b(mut self) -> bool { true } }"), []);
        assert_eq!(found("impl A { fn issue(&mut self) {} fn hash(&mut self) {} }"), []);
    }
}
