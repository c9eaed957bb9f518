//! What a file names of other files: its imports, and the paths in its code.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

use super::source::{self, Source};

/// A path as it is written: `crate::model::Kind`; the last word is `*` for all that a module has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub words: Vec<String>,
    pub line: usize,
    /// How many modules within the file it stands in.
    pub depth: usize,
}

/// `use path as name;`, where the name is `*` for all that a module has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub name: String,
    pub path: Written,
}

/// All that one file names, but for what is only there for tests.
#[derive(Default)]
pub struct Named {
    pub imports: Vec<Import>,
    pub paths: Vec<Written>,
    /// What the file declares at its top, `mod` apart.
    pub items: Vec<String>,
    /// Modules with their text in this file, and modules in files of their own that only tests have.
    pub inline: Vec<String>,
    pub for_tests: Vec<String>,
    /// Modules whose file is named by `#[path]`: they belong to another crate.
    pub borrowed: Vec<String>,
    depth: usize,
}

impl Named {
    pub fn of(source: &Source) -> Named {
        let items = source.syntax.items.iter().filter_map(name).collect();
        let mut named = Named { items, ..Named::default() };
        named.visit_file(&source.syntax);
        named
    }

    fn write(&self, words: Vec<String>, span: Span) -> Written {
        Written { words, line: span.start().line, depth: self.depth }
    }

    fn import(&mut self, tree: &UseTree, mut before: Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before);
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.import(item, before.clone())),
            UseTree::Glob(glob) => {
                before.push("*".to_owned());
                let path = self.write(before, glob.span());
                self.imports.push(Import { name: "*".to_owned(), path });
            }
            UseTree::Name(name) => self.import_as(&name.ident.to_string(), &name.ident, before),
            UseTree::Rename(rename) => self.import_as(&rename.rename.to_string(), &rename.ident, before),
        }
    }

    fn import_as(&mut self, name: &str, last: &syn::Ident, mut words: Vec<String>) {
        let name = if name == "self" { words.last().cloned().unwrap_or_default() } else { name.to_owned() };
        if last != "self" {
            words.push(last.to_string());
        }
        let path = self.write(words, last.span());
        self.imports.push(Import { name, path });
    }

    /// Within a macro's call nothing is parsed: `word::word` is taken for a path.
    fn in_tokens(&mut self, tokens: TokenStream) {
        let mut words: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let (mut colons, mut found) = (0, Vec::new());
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        found.push((std::mem::take(&mut words), start));
                        start = ident.span();
                    }
                    words.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    found.push((std::mem::take(&mut words), start));
                    self.in_tokens(group.stream());
                    colons = 0;
                }
                _ => {
                    found.push((std::mem::take(&mut words), start));
                    colons = 0;
                }
            }
        }
        found.push((words, start));
        for (words, span) in found.into_iter().filter(|(words, _)| words.len() > 1) {
            self.paths.push(self.write(words, span));
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item(&mut self, item: &'ast Item) {
        match (source::is_for_tests(source::attributes(item)), item) {
            (false, _) => visit::visit_item(self, item),
            (true, Item::Mod(module)) => self.for_tests.push(module.ident.to_string()),
            (true, _) => {}
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if module.content.is_some() {
            self.inline.push(name);
        } else if module.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            self.borrowed.push(name);
        }
        self.depth += 1;
        visit::visit_item_mod(self, module);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, Vec::new());
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push(self.write(words, path.span()));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.in_tokens(call.tokens.clone());
    }
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
