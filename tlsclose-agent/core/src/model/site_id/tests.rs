use super::*;
use crate::model::FileOffset;

const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
const KIND: Kind = Kind::CloseWaitEofRead;

fn frame(module: &str, function: &str) -> Frame {
    Frame {
        function: Some(function.into()),
        file: Some("src/server.rs".into()),
        line: Some(88),
        module: Some(module.into()),
        build_id: Some("4c1f".into()),
        offset: Some(FileOffset(0x1f3a0)),
        inlined: false,
    }
}

fn unnamed(module: &str, build_id: &str, offset: u64) -> Frame {
    Frame {
        module: Some(module.into()),
        build_id: Some(build_id.into()),
        offset: Some(FileOffset(offset)),
        ..Frame::default()
    }
}

fn own(functions: &[&str]) -> Vec<Frame> {
    functions.iter().map(|f| frame("/srv/payments", f)).collect()
}

fn whole(stack: &[Frame]) -> Trace<'_> {
    Trace::new(stack, true)
}

fn site(opened: &[Frame], touched: &[Frame]) -> String {
    site_of(KIND, "/srv/payments", opened, touched)
}

fn site_of(kind: Kind, program: &str, opened: &[Frame], touched: &[Frame]) -> String {
    site_id(kind, program, whole(opened), whole(touched)).expect("a site")
}

#[test]
fn a_site_is_twelve_hexadecimal_digits_that_never_change() {
    let id = site(&own(&["accept_loop", "main"]), &own(&["handle_request"]));
    assert_eq!(id, "dd9891d5b99b");
    assert!(id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()));
}

/// What dashboards, silences and tickets refer to.
#[test]
fn the_ids_of_every_kind_are_frozen() {
    let mut python = frame("", "Session.get");
    (python.module, python.file) = (None, Some("/srv/app/client.py".into()));
    let opened = [frame(LIBC, "accept4"), python, unnamed("/srv/payments", "4c1f", 0x1f3a0)];
    let ids: Vec<_> = Kind::all().map(|kind| site_of(kind, "/srv/payments", &opened, &own(&["handle"]))).collect();
    assert_eq!(
        ids,
        [
            "10e37aac44c4",
            "34911c97d614",
            "950925b26daa",
            "d448df70f48b",
            "19009ea37e6f",
            "79c33ee81cdf",
            "0f0d6e319f8a",
            "cf45467aaab7",
            "fdfd7c074484",
            "7cf895606ffc"
        ]
    );
}

#[test]
fn a_rebuild_that_moves_code_keeps_the_site() {
    let mut moved = own(&["accept_loop", "main"]);
    for frame in &mut moved {
        frame.line = Some(4711);
        frame.file = Some("/build/other/src/server.rs".into());
        frame.offset = Some(FileOffset(0x2));
        frame.build_id = Some("ffff".into());
    }
    assert_eq!(site(&moved, &[]), site(&own(&["accept_loop", "main"]), &[]));
}

#[test]
fn marks_of_the_compiler_do_not_count() {
    for (function, plain) in [
        ("accept_loop.cold", "accept_loop"),
        ("accept_loop.cold.0", "accept_loop"),
        ("accept_loop.cold.12", "accept_loop"),
        ("accept_loop.part.0", "accept_loop"),
        ("accept_loop.part.0.cold", "accept_loop"),
        ("accept_loop.constprop.0", "accept_loop"),
        ("accept_loop.constprop.1.isra.0", "accept_loop"),
        ("accept_loop.isra.0.cold", "accept_loop"),
        ("accept_loop.isra.0.localalias", "accept_loop"),
        ("accept_loop.llvm.123456", "accept_loop"),
        ("accept_loop.llvm.16041284357312023401.cold.1", "accept_loop"),
        ("accept_loop.lto_priv.0", "accept_loop"),
        ("accept_loop.avx2.cold", "accept_loop.avx2"),
        ("payments::accept.cold", "payments::accept"),
        ("Server::accept() [clone .cold]", "Server::accept()"),
        ("Server::accept() [clone .isra.0] [clone .cold]", "Server::accept()"),
        // No marks.
        ("store.coldRead", "store.coldRead"),
        ("store.coldRead.func1", "store.coldRead.func1"),
        ("main.part.func1", "main.part.func1"),
        ("main.part", "main.part"),
        ("cold.read", "cold.read"),
        (".cold", ".cold"),
        ("a.partial.0", "a.partial.0"),
        ("a.part.0x", "a.part.0x"),
        ("a.part.", "a.part."),
    ] {
        assert_eq!(without_clone(function), plain, "{function}");
    }
    assert_eq!(site(&own(&["accept_loop.isra.0.cold"]), &[]), site(&own(&["accept_loop"]), &[]));
}

#[test]
fn functions_that_are_called_like_a_mark_have_sites_of_their_own() {
    let go = |function: &str| Frame { file: Some("/src/store.go".into()), ..frame("/srv/payments", function) };
    // Of Python or Java.
    let script = |function: &str| Frame { module: None, ..frame("", function) };
    let pairs = [
        [go("store.coldRead"), go("store.coldWrite")],
        [go("store.cold"), go("store")],
        [script("Cache.cold_get"), script("Cache.cold_put")],
        [script("Cache.cold"), script("Cache")],
        [script("com.acme.coldstorage.A.read(int)"), script("com.acme.coldstorage.A.write(int)")],
    ];
    for [one, other] in pairs {
        assert_ne!(site(std::slice::from_ref(&one), &[]), site(&[other], &[]), "{one:?}");
    }
}

#[test]
fn another_path_of_the_program_or_another_libc_keeps_the_site() {
    let here = [frame(LIBC, "accept4"), frame("/srv/payments", "accept_loop"), frame(LIBC, "__libc_start_main")];
    let there = [unnamed("/lib/ld-musl-x86_64.so.1", "aa", 0x1), frame("/opt/v2/payments", "accept_loop")];
    assert_eq!(site_of(KIND, "/srv/payments", &here, &[]), site_of(KIND, "/opt/v2/payments", &there, &[]));
}

#[test]
fn recursion_counts_once() {
    let deep = own(&["parse", "parse", "parse", "main"]);
    assert_eq!(site(&deep, &[]), site(&own(&["parse", "main"]), &[]));
    // Also where libc lies between (qsort's comparison, for one).
    let through_libc = [frame("/p", "walk"), frame(LIBC, "qsort"), frame("/p", "walk")];
    assert_eq!(site(&through_libc, &[]), site(&own(&["walk"]), &[]));
}

#[test]
fn a_cycle_of_calls_counts_once_however_often_it_went_round() {
    let cycles: [&[&str]; 5] =
        [&["b", "a"], &["c", "b", "a"], &["a", "a", "b"], &["a", "b", "a", "c"], &["a", "b", "c", "d", "e", "f", "g"]];
    for cycle in cycles {
        for before in [&[][..], &["connect"], &[cycle[cycle.len() - 1]]] {
            let times = |times: usize| site(&own(&[before, &cycle.repeat(times), &["main"]].concat()), &[]);
            for depth in [2, 3, 4, 40] {
                assert_eq!(times(depth), times(1), "{before:?} {cycle:?} {depth}");
            }
            assert_ne!(times(1), times(0), "{before:?} {cycle:?}");
        }
    }
}

#[test]
fn a_function_that_comes_again_on_another_way_counts_again() {
    let sites = [["poll", "send", "poll", "main"], ["poll", "recv", "poll", "main"], ["poll", "send", "main", "poll"]];
    let distinct: std::collections::HashSet<_> = sites.iter().map(|functions| site(&own(functions), &[])).collect();
    assert_eq!(distinct.len(), sites.len());
}

#[test]
fn every_cause_has_its_own_site() {
    let a = own(&["a"]);
    let b = own(&["b"]);
    let ab = own(&["a", "b"]);
    let ba = own(&["b", "a"]);
    let sites = [
        site(&a, &[]),
        site(&b, &[]),
        site(&[], &a),
        site(&a, &a),
        site(&a, &b),
        site(&b, &a),
        site(&ab, &[]),
        site(&ba, &[]),
        site(&own(&["ab"]), &[]),
        site_of(Kind::CloseWaitUnread, "/srv/payments", &a, &[]),
        site_of(KIND, "/srv/orders", &a, &[]),
    ];
    let distinct: std::collections::HashSet<_> = sites.iter().collect();
    assert_eq!(distinct.len(), sites.len());
}

#[test]
fn a_function_of_python_counts_with_the_name_of_its_file() {
    let python = |file: &str, line| Frame {
        function: Some("handle".into()),
        file: Some(file.into()),
        line: Some(line),
        ..Frame::default()
    };
    let here = site(&[python("/srv/app/server.py", 88)], &[]);
    assert_eq!(site(&[python("/home/me/venv/server.py", 90)], &[]), here);
    assert_ne!(site(&[python("/srv/app/client.py", 88)], &[]), here);
}

#[test]
fn a_frame_without_a_name_counts_by_build_and_offset() {
    let at = |build, offset| site(&[unnamed("/srv/payments", build, offset)], &[]);
    assert_eq!(at("aa", 0x1), at("aa", 0x1));
    assert_ne!(at("aa", 0x1), at("aa", 0x2));
    assert_ne!(at("aa", 0x1), at("bb", 0x1));
    let mut nothing_but_a_path = unnamed("/srv/payments", "", 0x1);
    nothing_but_a_path.build_id = None;
    let mut elsewhere = nothing_but_a_path.clone();
    elsewhere.module = Some("/srv/plugin.so".into());
    assert_ne!(site(&[nothing_but_a_path], &[]), site(&[elsewhere], &[]));
}

#[test]
fn two_causes_do_not_share_a_site_because_only_libc_was_seen() {
    let read = [frame(LIBC, "read")];
    let recv = [frame(LIBC, "recv")];
    assert_ne!(site(&read, &[]), site(&recv, &[]));
    // With an own frame on either side, libc's do not count on the other.
    assert_eq!(site(&read, &own(&["a"])), site(&recv, &own(&["a"])));
}

#[test]
fn a_path_that_was_cut_before_the_programs_own_code_has_no_site() {
    const NONE: &[Frame] = &[];
    let libc = [frame(LIBC, "accept4")];
    let vdso = [unnamed("[vdso]", "aa", 0x5e9)];
    let own = own(&["accept_loop"]);
    let python = [Frame { function: Some("serve".into()), file: Some("app.py".into()), ..Frame::default() }];
    let jit = [frame(LIBC, "connect"), Frame { function: Some("dial (net.js:7:1)".into()), ..Frame::default() }];
    let stripped = [frame(LIBC, "connect"), unnamed("/srv/payments", "aa", 0x1)];
    for (opened, touched, has_site) in [
        ((NONE, false), (NONE, false), false),
        ((&libc, false), (NONE, false), false),
        ((NONE, false), (&libc, false), false),
        ((&libc, false), (&libc, false), false),
        ((NONE, false), (&vdso, false), false),
        ((&libc, false), (&vdso, false), false),
        // All there was: a thread of libc's own, say.
        ((&libc, true), (NONE, false), true),
        ((NONE, false), (&libc, true), true),
        ((&libc, true), (&libc, false), true),
        ((&own, false), (NONE, false), true),
        ((&own, false), (&libc, false), true),
        ((&libc, false), (&own, false), true),
        ((&python, false), (NONE, false), true),
        ((&jit, false), (NONE, false), true),
        ((&stripped, false), (NONE, false), true),
    ] {
        let site = site_id(KIND, "/srv/payments", Trace::new(opened.0, opened.1), Trace::new(touched.0, touched.1));
        assert_eq!(site.is_some(), has_site, "{opened:?} {touched:?}");
    }
}

#[test]
fn runtime_modules_are_told_from_the_programs_own() {
    for path in [
        LIBC,
        "/lib/libc-2.28.so",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libpthread-2.31.so",
        "/lib/x86_64-linux-gnu/libpthread.so.0",
        "/lib/ld-musl-aarch64.so.1",
        "/lib/libc.musl-x86_64.so.1",
        "/usr/lib/ld-2.28.so",
        "[vdso]",
    ] {
        assert!(is_runtime_module(path), "{path}");
    }
    for path in [
        "/srv/payments",
        "/usr/lib/libcrypto.so.3",
        "/opt/ld-service",
        "/usr/lib/libcurl.so.4",
        "",
        "/srv/libc.so.6/app",
    ] {
        assert!(!is_runtime_module(path), "{path}");
    }
}
