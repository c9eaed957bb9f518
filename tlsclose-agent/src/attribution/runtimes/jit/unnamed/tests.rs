use std::collections::{HashMap, HashSet};

use super::*;

/// JitMaps as they are kept: only that of one process, the last one read.
#[derive(Default)]
struct One {
    /// Functions that are in the map by now: each address is its own number.
    written: HashMap<ProcessId, HashSet<u64>>,
    kept: Option<(ProcessId, HashSet<u64>)>,
    /// Processes whose maps may not be read now.
    paused: HashSet<ProcessId>,
    old: HashSet<ProcessId>,
    looks: Vec<ProcessId>,
    asked: usize,
}

impl One {
    fn write(&mut self, tgid: u32, address: u64) {
        self.written.entry(process(tgid)).or_default().insert(address);
    }

    /// All maps may be read, after some time; those that were are told.
    fn later(&mut self) -> Vec<u32> {
        self.paused.clear();
        self.asked = 0;
        let mut looks: Vec<u32> = self.looks.drain(..).map(|process| process.tgid).collect();
        looks.sort_unstable();
        looks
    }
}

impl JitMaps for One {
    fn is_young(&self, process: ProcessId) -> bool {
        !self.old.contains(&process)
    }

    fn look(&mut self, process: ProcessId) -> bool {
        if !self.paused.insert(process) {
            return false;
        }
        self.looks.push(process);
        self.old.remove(&process);
        if let Some(written) = self.written.get(&process) {
            self.kept = Some((process, written.clone()));
        }
        true
    }

    fn numbers(&mut self, process: ProcessId, addresses: &[u64]) -> Vec<Option<u64>> {
        self.asked += 1;
        let kept = self.kept.as_ref().filter(|(of, _)| *of == process);
        addresses.iter().map(|address| kept?.1.contains(address).then_some(*address)).collect()
    }
}

fn process(tgid: u32) -> ProcessId {
    ProcessId { tgid, started_at: 0 }
}

const LIBC: CodePlace = (ModuleId(1), 0x10);

/// A function of libc, called by JIT code just before `address`.
fn stack(tgid: u32, key: u64, address: u64) -> ResolvedStack {
    ResolvedStack { key, is_copy: false, process: process(tgid), path: vec![LIBC, (ModuleId::JIT, address + 1)] }
}

/// Keys of stacks, and whether each is named.
fn told(stacks: Vec<ResolvedStack>) -> Vec<(u64, bool)> {
    let mut told: Vec<_> = stacks.iter().map(|stack| (stack.key, stack.path.len() == 2)).collect();
    told.sort_unstable();
    told
}

#[test]
fn a_stack_without_jit_code_is_final_at_once() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    let stack = ResolvedStack { path: vec![LIBC], ..stack(7, 1, 0) };
    assert_eq!(waiting.take_in(stack.clone(), &mut maps), [stack]);
    assert!(maps.looks.is_empty() && maps.asked == 0);
}

#[test]
fn a_stack_is_named_by_the_call_and_up_to_the_first_function_without_a_name() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    maps.write(7, 0x20);
    maps.write(7, 0x40);
    let path = |jit: &[u64]| [vec![LIBC], jit.iter().map(|at| (ModuleId::JIT, *at)).collect()].concat();
    let named = waiting.take_in(ResolvedStack { path: path(&[0x21, 0x41]), ..stack(7, 1, 0) }, &mut maps);
    assert_eq!(named[0].path, path(&[0x20, 0x40]));
    assert!(waiting.take_in(ResolvedStack { path: path(&[0x21, 0x31, 0x41]), ..stack(7, 2, 0) }, &mut maps).is_empty());
    maps.later();
    assert_eq!(waiting.look_again(&mut maps)[0].path, path(&[0x20]));
}

#[test]
fn a_stack_waits_for_one_more_look_and_is_final_then() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    maps.write(7, 0x10);
    assert_eq!(told(waiting.take_in(stack(7, 1, 0x10), &mut maps)), [(1, true)]);
    assert!(waiting.take_in(stack(7, 2, 0x20), &mut maps).is_empty());
    assert!(waiting.take_in(stack(7, 3, 0x30), &mut maps).is_empty());
    maps.write(7, 0x20);
    assert!(waiting.look_again(&mut maps).is_empty(), "not yet");
    assert_eq!(maps.later(), [7]);
    assert_eq!(told(waiting.look_again(&mut maps)), [(2, true), (3, false)]);
    maps.later();
    assert!(waiting.look_again(&mut maps).is_empty() && maps.looks.is_empty());
}

#[test]
fn nobody_is_asked_while_no_new_look_may_be_had() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    for key in 0..10 {
        waiting.take_in(stack(7, key, 0x20), &mut maps);
    }
    maps.asked = 0;
    for _ in 0..10 {
        assert!(waiting.look_again(&mut maps).is_empty());
    }
    assert_eq!(maps.asked, 0);
}

#[test]
fn more_processes_than_maps_are_kept_are_each_looked_at_once() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    for round in 0..3 {
        for tgid in 1..=20 {
            maps.write(tgid, 0x10);
            assert!(waiting.take_in(stack(tgid, u64::from(tgid) * 10 + round, 0x20), &mut maps).is_empty());
        }
    }
    let all: Vec<u32> = (1..=20).collect();
    assert_eq!(maps.later(), all);
    for tgid in 1..=20 {
        maps.write(tgid, 0x20);
    }
    let expected: Vec<_> = (10..=200).step_by(10).flat_map(|key| (key..key + 3).map(|key| (key, true))).collect();
    assert_eq!(told(waiting.look_again(&mut maps)), expected);
    assert_eq!(maps.later(), all);
}

/// Its own map was read after it came, but is not kept any more when somebody thinks of it.
#[test]
fn a_look_for_one_stack_is_one_for_all_of_its_process() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    assert!(waiting.take_in(stack(7, 1, 0x20), &mut maps).is_empty());
    maps.write(7, 0x20);
    maps.later();
    assert_eq!(told(waiting.take_in(stack(7, 2, 0x30), &mut maps)), [(1, true)]);
    maps.write(8, 0x10);
    assert_eq!(told(waiting.take_in(stack(8, 3, 0x10), &mut maps)), [(3, true)]);
    maps.later();
    assert_eq!(told(waiting.look_again(&mut maps)), [(2, false)]);
}

#[test]
fn an_old_map_is_read_again_before_it_is_used() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    maps.write(7, 0x10);
    waiting.take_in(stack(7, 1, 0x10), &mut maps);
    waiting.take_in(stack(7, 2, 0x20), &mut maps);
    assert_eq!(maps.later(), [7]);
    maps.old.insert(process(7));
    maps.write(7, 0x20);
    assert_eq!(told(waiting.take_in(stack(7, 3, 0x10), &mut maps)), [(2, true), (3, true)]);
    assert_eq!(maps.later(), [7], "once");
}

#[test]
fn stacks_of_a_process_that_is_gone_get_what_is_left_of_its_map() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    waiting.take_in(stack(7, 1, 0x10), &mut maps);
    waiting.take_in(stack(7, 2, 0x20), &mut maps);
    waiting.take_in(stack(8, 3, 0x20), &mut maps);
    maps.kept = Some((process(7), HashSet::from([0x20])));
    maps.looks.clear();
    assert_eq!(told(waiting.settle(process(7), &mut maps)), [(1, false), (2, true)]);
    assert!(maps.looks.is_empty(), "its number may be another program's");
    maps.later();
    assert_eq!(told(waiting.look_again(&mut maps)), [(3, false)]);
}

#[test]
fn only_so_many_wait() {
    let (mut waiting, mut maps) = (UnnamedStacks::default(), One::default());
    for key in 0..MAX as u64 {
        assert!(waiting.take_in(stack(key as u32 % 9, key, 0x20), &mut maps).is_empty());
    }
    assert_eq!(told(waiting.take_in(stack(3, 1000, 0x20), &mut maps)), [(1000, false)]);
    maps.later();
    assert_eq!(waiting.look_again(&mut maps).len(), MAX);
    assert!(waiting.take_in(stack(3, 1001, 0x20), &mut maps).is_empty());
}
