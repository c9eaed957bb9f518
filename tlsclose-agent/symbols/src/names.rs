//! Functions, files and lines of places in one module, by blazesym.

use std::path::Path;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolizer};

use crate::demangle::{cut, demangle};
use crate::protocol::{INLINED_MAX, NAME_MAX, Name, Place};

/// Names places of one file. Keeps what it has parsed of it.
pub struct Namer {
    symbolizer: Symbolizer,
    file: Elf,
}

impl Namer {
    /// `path` must stay the same file as long as this lives. Without `debug_info` only the symbol
    /// table is read.
    pub fn new(path: &Path, debug_info: bool) -> Self {
        // Directories of separate debug information are the host's, and the file may be of a
        // container with another build of the same name.
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_demangling(false)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .set_debug_dirs(Some(std::iter::empty::<&Path>()))
            .build();
        let mut file = Elf::new(path);
        file.debug_syms = debug_info;
        Self { symbolizer, file }
    }

    /// The functions at each place, innermost first. Where debug information is broken, what the
    /// symbol table says.
    pub fn names(&mut self, places: &[Place]) -> Vec<Vec<Name>> {
        let offsets: Vec<u64> = places.iter().map(Place::looked_up).collect();
        self.names_of(Input::FileOffset(&offsets), places.len())
    }

    /// The same for addresses as the file was linked for.
    pub fn names_of_addresses(&mut self, addresses: &[u64]) -> Vec<Vec<Name>> {
        self.names_of(Input::VirtOffset(addresses), addresses.len())
    }

    fn names_of(&mut self, places: Input<&[u64]>, count: usize) -> Vec<Vec<Name>> {
        let source = Source::Elf(self.file.clone());
        if let Ok(found) = self.symbolizer.symbolize(&source, places) {
            return found.iter().map(|s| s.as_sym().map_or_else(Vec::new, names_of)).collect();
        }
        if !self.file.debug_syms {
            return vec![Vec::new(); count];
        }
        let path = self.file.path.clone();
        *self = Self::new(&path, false);
        self.names_of(places, count)
    }
}

/// blazesym lists inlined functions outermost first, after the function they are in.
fn names_of(symbol: &Sym<'_>) -> Vec<Name> {
    let inlined = symbol.inlined.iter().rev().take(INLINED_MAX - 1);
    let mut names: Vec<Name> = inlined.map(|f| name(&f.name, f.code_info.as_ref())).collect();
    names.push(name(&symbol.name, symbol.code_info.as_deref()));
    names
}

fn name(function: &str, code: Option<&CodeInfo<'_>>) -> Name {
    let file = code.map(|code| code.to_path().to_string_lossy().into_owned());
    Name {
        function: (!function.is_empty()).then(|| demangle(function).into()),
        file: file.map(|file| cut(&file, NAME_MAX).into()),
        line: code.and_then(|code| code.line),
    }
}
