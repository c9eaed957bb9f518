//! Maps in which the kernel side counts by a key.

use aya::{
    Pod,
    maps::{HashMap, MapData, PerCpuHashMap},
};
use tlsclose_common::facts::Comm;

use super::pod::Fact;

/// All counts since this was called last. What is counted between the look and the removal is lost, like all that was
/// not sampled.
pub(super) fn take<K: Copy>(map: &mut HashMap<MapData, Fact<K>, u64>) -> Vec<(K, u64)>
where
    Fact<K>: Pod,
{
    let keys: Vec<Fact<K>> = map.keys().filter_map(Result::ok).collect();
    let mut taken = Vec::with_capacity(keys.len());
    for key in keys {
        let Ok(count) = map.get(&key, 0) else { continue };
        // Fails only when the entry was recycled meanwhile.
        let _ = map.remove(&key);
        taken.push((key.0, count));
    }
    taken
}

/// The count of each key over all processors, and the first name of a process that stands with one; `parts` gives both.
pub(super) fn sums<K: Copy, V: Copy, T>(
    map: &PerCpuHashMap<MapData, Fact<K>, Fact<V>>,
    parts: impl Fn(&V) -> (u64, Comm),
    row: impl Fn(K, u64, Comm) -> T,
) -> Vec<T>
where
    Fact<K>: Pod,
    Fact<V>: Pod,
{
    let keys = map.keys().filter_map(Result::ok);
    keys.filter_map(|key| {
        let values = map.get(&key, 0).ok()?;
        let count = values.iter().map(|Fact(value)| parts(value).0).sum();
        let names = values.iter().map(|Fact(value)| parts(value).1);
        let comm = names.into_iter().find(|comm| !comm.is_empty()).unwrap_or_default();
        Some(row(key.0, count, comm))
    })
    .collect()
}
