//! Takes a few members, functions and names out of all types of a kernel.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use tlsclose_btf::{Btf, MAGIC, Type, type_kind};

/// What is kept; a kernel need not have all of it.
pub struct Wanted {
    /// Structures, and members of them by their paths.
    pub fields: Vec<(&'static str, &'static str)>,
    pub typedefs: Vec<String>,
    pub functions: Vec<&'static str>,
    /// Of `enum bpf_func_id`.
    pub enumerators: Vec<String>,
}

/// Members that are kept, by index, with those of their types that are.
#[derive(Default)]
struct Kept(BTreeMap<usize, Kept>);

/// BTF with nothing else in it. Members that lead no further have no type.
pub fn reduce(all: &[u8], wanted: &Wanted) -> Result<Vec<u8>> {
    let types = Btf::parse(all)?;
    let mut structures: BTreeMap<&str, Kept> = BTreeMap::new();
    for (structure, path) in &wanted.fields {
        let Some(entry) = types.named(type_kind::STRUCT, structure) else { continue };
        let kept = structures.entry(structure).or_default();
        if let Some(indices) = indices(&types, entry, path) {
            indices.into_iter().fold(kept, |kept, index| kept.0.entry(index).or_default());
        }
    }
    let mut few = Few::default();
    for (structure, kept) in &structures {
        let entry = types.named(type_kind::STRUCT, structure).context("a structure is gone")?;
        few.structure(&types, entry, kept)?;
    }
    for name in &wanted.typedefs {
        if types.named(type_kind::TYPEDEF, name).is_some() {
            few.add(name.as_bytes(), type_kind::TYPEDEF << 24, 0, &[]);
        }
    }
    for name in &wanted.functions {
        let prototype = types.named(type_kind::FUNC, name).and_then(|function| types.strip(function.size_or_type));
        let Some(prototype) = prototype.filter(|prototype| prototype.kind() == type_kind::FUNC_PROTO) else { continue };
        let parameters = vec![0; 2 * prototype.len()];
        let number = few.add(b"", prototype.info, 0, &parameters);
        few.add(name.as_bytes(), type_kind::FUNC << 24, number, &[]);
    }
    if types.named(type_kind::ENUM, "bpf_func_id").is_some() {
        let there: Vec<&[u8]> = types.enumerators("bpf_func_id").collect();
        let kept = wanted.enumerators.iter().map(String::as_bytes).filter(|name| there.contains(name));
        let members: Vec<u32> = kept.flat_map(|name| [few.name(name), 0]).collect();
        few.add(b"bpf_func_id", type_kind::ENUM << 24 | (members.len() / 2) as u32, 4, &members);
    }
    Ok(few.file())
}

/// A path as indices of members, through those without a name too.
fn indices(types: &Btf, mut of: Type, path: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for name in path.split('.') {
        for member in types.way_to(of, name)? {
            all.push(member.index);
            of = types.strip(member.ty).unwrap_or(of);
        }
    }
    Some(all)
}

/// BTF in the making.
struct Few {
    types: Vec<u32>,
    count: u32,
    strings: Vec<u8>,
}

impl Default for Few {
    fn default() -> Self {
        Self { types: Vec::new(), count: 0, strings: vec![0] }
    }
}

impl Few {
    /// The structure with the members that are kept; its number.
    fn structure(&mut self, types: &Btf, of: Type, kept: &Kept) -> Result<u32> {
        let mut members = Vec::new();
        for (index, inner) in &kept.0 {
            let member = types.member(of, *index).context("a member is cut short")?;
            let offset = types.word(member.at + 8).context("a member is cut short")?;
            let number = match types.strip(member.ty) {
                Some(ty) if !inner.0.is_empty() => self.structure(types, ty, inner)?,
                _ => 0,
            };
            members.extend([self.name(types.name(member.name)), number, offset]);
        }
        let info = of.info & 0xff00_0000 | (members.len() / 3) as u32;
        Ok(self.add(types.name(of.name), info, of.size_or_type, &members))
    }

    fn add(&mut self, name: &[u8], info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        self.types.extend([name, info, size_or_type]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    /// Where a name is, each once.
    fn name(&mut self, text: &[u8]) -> u32 {
        let ended = [text, b"\0"].concat();
        let known = self.strings.windows(ended.len()).position(|window| window == ended);
        known.unwrap_or_else(|| {
            self.strings.extend(&ended);
            self.strings.len() - ended.len()
        }) as u32
    }

    fn file(&self) -> Vec<u8> {
        const HEADER: u32 = 24;
        let types: Vec<u8> = self.types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (length, strings) = (types.len() as u32, self.strings.len() as u32);
        let mut file = Vec::from(MAGIC.to_le_bytes());
        file.extend([1, 0]);
        file.extend([HEADER, 0, length, length, strings].into_iter().flat_map(u32::to_le_bytes));
        file.extend(types);
        file.extend(&self.strings);
        file
    }
}
