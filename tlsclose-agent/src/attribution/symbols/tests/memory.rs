//! What files may take of the agent's memory.

use super::failures::modules_of;
use super::*;
use std::fs;
use std::thread;

/// A helper that runs, and memory for copies of this size.
fn symbolizer_with(copies: u64) -> Symbolizer {
    let mut symbolizer = symbolizer();
    symbolizer.start().unwrap();
    symbolizer.budget.copies = copies;
    symbolizer
}

#[test]
fn a_file_that_is_too_large_costs_its_names_and_nothing_else() {
    let program = fs::read("/bin/sleep").unwrap();
    let (modules, ids) = modules_of(&[&program, &program[1..]]);
    let mut symbolizer = symbolizer_with(program.len() as u64 - 1);
    assert_eq!(symbolizer.caller(&modules, ids[0], 0x3000, true), Ok(Caller::Unknown));
    assert_eq!(symbolizer.python(&modules, ids[0]), Ok(None));
    let named = symbolizer.names(&modules, &[(ids[0], 0x3000, true)]).known.concat();
    assert_eq!((named[0].module.as_deref(), &named[0].function), (Some("/srv/0"), &None));
    assert!(modules.get(ids[0]).unwrap().contents().is_none(), "it was read");
    // The next one fits.
    assert!(symbolizer.caller(&modules, ids[1], 0x3000, true).is_ok());
    assert!(modules.get(ids[1]).unwrap().contents().is_some());
    assert_eq!(symbolizer.failures, 0);
}

#[test]
fn files_that_do_not_fit_together_make_room_for_each_other() {
    let program = fs::read("/bin/sleep").unwrap();
    let size = program.len() as u64;
    let (mut other, mut third) = (program.clone(), program.clone());
    *other.last_mut().unwrap() ^= 1;
    *third.last_mut().unwrap() ^= 2;
    let (modules, ids) = modules_of(&[&program, &other, &third]);
    let mut symbolizer = symbolizer_with(2 * size + 1);
    for (turn, id) in ids.iter().cycle().enumerate().take(9) {
        // Somewhere else each time: what was asked before is remembered.
        let rule = symbolizer.caller(&modules, *id, 0x3000 + turn as u64, true);
        assert!(rule.is_ok(), "turn {turn}");
        assert_eq!(symbolizer.helper.as_ref().unwrap().bytes(), size * (turn as u64 + 1).min(2), "turn {turn}");
    }
    assert_eq!(symbolizer.failures, 0);
}

#[test]
fn who_can_come_again_does_not_wait_for_a_copy() {
    let program = fs::read("/bin/sleep").unwrap();
    let (modules, ids) = modules_of(&[&program]);
    let mut symbolizer = Symbolizer { patience: Some(Duration::ZERO), ..symbolizer() };
    let mut times = 0;
    let end = Instant::now() + CALL_DEADLINE;
    let rule = loop {
        match symbolizer.caller(&modules, ids[0], 0x3000, true) {
            Ok(rule) => break rule,
            Err(why) => assert_eq!(why, NotNow::Pending, "nobody would come again"),
        }
        times += 1;
        assert!(Instant::now() < end, "it never comes");
        thread::sleep(Duration::from_millis(1));
    };
    assert!(times > 0, "a copy takes no time");
    assert_eq!(symbolizer.caller(&modules, ids[0], 0x3000, true), Ok(rule));
    assert_eq!((symbolizer.failures, symbolizer.strikes.of(ids[0])), (0, 0));
}

#[test]
fn a_helper_that_is_nearly_full_is_replaced_before_the_next_file_and_nobody_is_blamed() {
    let (program, other) = (fs::read("/bin/sleep").unwrap(), fs::read("/bin/true").unwrap());
    let (modules, ids) = modules_of(&[&program, &other]);
    let mut symbolizer = symbolizer_with(64 << 20);
    assert!(symbolizer.caller(&modules, ids[0], 0x3000, true).is_ok());
    let (first, heap) = (helper_pid(&symbolizer), symbolizer.helper.as_ref().unwrap().heap());
    assert!((1 << 16..1 << 30).contains(&heap), "{heap}");
    // It has what it is asked for.
    symbolizer.budget.heap = heap;
    assert!(symbolizer.caller(&modules, ids[0], 0x3001, true).is_ok());
    assert_eq!(helper_pid(&symbolizer), first);
    assert!(symbolizer.caller(&modules, ids[1], 0x3000, true).is_ok());
    assert_ne!(helper_pid(&symbolizer), first);
    assert_eq!((symbolizer.failures, symbolizer.strikes.of(ids[1])), (0, 0));
}
