//! Code that nothing has called: where programs, threads and goroutines start.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ops::Range;

use object::read::ReadRef;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::go_table::GoTable;

/// The code at a program's entry, up to its one call; also for symbols without a size. In bytes.
const START_BYTES: u64 = 64;

/// First functions of threads and goroutines, where the unwind tables do not say so: musl's and
/// Go's assembly.
const STARTS: [&str; 9] = [
    "_start",
    "__clone",
    "clone",
    "__clone3",
    "clone3",
    "runtime.goexit",
    "runtime.goexit.abi0",
    "runtime.mstart",
    "runtime.mstart.abi0",
];

/// Functions whose addresses are kept.
const FUNCTIONS_MAX: usize = 1 << 18;

/// Where code starts in one file.
pub struct EntryPoints {
    ranges: Vec<Range<u64>>,
    /// Addresses at which functions begin; read when first asked for.
    functions: OnceCell<HashSet<u64>>,
    /// The file holds code of Go's compiler.
    pub is_go: bool,
}

impl EntryPoints {
    /// Of a file, and of the table of functions where it is a program of Go.
    pub fn of<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, go_table: Option<&GoTable>) -> Self {
        let entry = file.entry();
        let entry = (entry != 0).then(|| entry..entry.saturating_add(START_BYTES));
        let symbols = file.symbols().chain(file.dynamic_symbols());
        let named = symbols.filter(ObjectSymbol::is_definition);
        let named = named.filter(|symbol| symbol.name().is_ok_and(|name| STARTS.contains(&name)));
        let range = |symbol: object::Symbol<'a, '_, R>| {
            let size = if symbol.size() == 0 { START_BYTES } else { symbol.size() };
            symbol.address()..symbol.address().saturating_add(size)
        };
        Self {
            ranges: entry
                .into_iter()
                .chain(named.map(range))
                .chain(go_table.map(|t| t.ranges(&STARTS)).unwrap_or_default())
                .collect(),
            functions: OnceCell::new(),
            is_go: [".gopclntab", ".go.buildinfo"]
                .iter()
                .any(|name| file.section_by_name(name).is_some_and(|s| s.size() > 0)),
        }
    }

    /// Code outside of unwind tables at `address` is a start.
    pub fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    /// A function begins at `address`, as far as there are symbols in `file`, which all this is of.
    pub fn is_function<'a, R: ReadRef<'a>>(&self, file: &object::File<'a, R>, address: u64) -> bool {
        let functions = self.functions.get_or_init(|| {
            let symbols = file.symbols().chain(file.dynamic_symbols());
            let functions = symbols.filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
            functions.map(|symbol| symbol.address()).take(FUNCTIONS_MAX).collect()
        });
        functions.contains(&address)
    }
}
