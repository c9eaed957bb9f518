//! Sockets opened and read in a signal handler: its own functions are named, and what it has
//! interrupted is no caller of it.

use std::fs;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::wait_for_sites;
use tlsclose_tests::host::root;
use tlsclose_tests::leaky::{Language, Leaky, WAYS, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list, marked_line};

const SOURCE: &str = "tests/leaky/c/interrupted.c";

const INTERRUPTED: Way = Way { name: "interrupted", ..WAYS[0] };

/// Its functions and lines, innermost first, and that it is shown as cut.
fn assert_ends_in_handler(touch: &Value, what: &str, innermost: &str, context: &str) {
    let source = fs::read_to_string(root().join(SOURCE)).expect("the source");
    let line = |marker: &str| Some(marked_line(&source, &format!("interrupted {marker}")));
    let expected = [(innermost, line(what)), ("on_timer", line(&format!("{what} caller")))];
    let own = frames_in(&touch["stack"], SOURCE);
    let own: Vec<_> = own.into_iter().map(|frame| (function(frame), frame["line"].as_u64())).collect();
    assert_eq!(own, expected, "{context}: {touch:#}");
    assert_eq!(touch["whole"], false, "{context}: {touch:#}");
    // Beyond the handler, at most the frame of the signal.
    let behind = list(&touch["stack"]).skip_while(|frame| function(frame) != "on_timer").skip(1);
    let behind: Vec<_> = behind.map(function).collect();
    assert!(behind.len() <= 1 && !behind.contains(&"main"), "{context}: {touch:#}");
}

#[test]
fn a_signal_handler_is_named_and_cut_where_the_signal_came() {
    let languages = [
        Language::C,
        Language::OptimisedC,
        Language::FramelessC,
        Language::StaticC,
        Language::Musl,
        Language::FramedMusl,
        Language::StaticMusl,
    ];
    for stack in ["same", "alternate"] {
        let (namespace, agent) = (Netns::new(), Agent::shared());
        let programs = languages.map(|language| {
            let arguments = ["--way", stack, "--count", "4", "--for", "60"];
            let mut leaky = Leaky::start(&namespace, language, &INTERRUPTED, &arguments);
            assert_eq!(leaky.ready(), 4);
            leaky
        });
        for (language, site) in languages.iter().zip(wait_for_sites(&agent, &programs, 4)) {
            let context = format!("{language:?}, {stack} stack");
            assert_ends_in_handler(&site["opened"], "opened", "interrupted_accept", &context);
            assert_ends_in_handler(&site["touched"], "touched", "interrupted_handle", &context);
        }
    }
}
