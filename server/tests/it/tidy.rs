//! What no tool knows about the source: who may import whom, where operating systems are told apart, how files open.

use std::fmt;
use std::fs;
use std::path::Path;

/// Lines that a file may have; the aim is 70 to 400.
const LINES_MAX: usize = 600;

/// A package's modules, each with those of its own that it may import.
type Table = [(&'static str, &'static [&'static str])];

/// What every package with a map of its own is called by its programs and tests, and the map.
const MAPS: [(&str, &str, &Table); 2] =
    [("server", "finwait_server", &SERVER), ("loadgen", "finwait_loadgen", &LOADGEN)];

/// The modules of the server, each with those of ours that it may import. What stands in a folder under a module
/// (`engine/mio/door.rs`) belongs to that module; `*` stands for all modules in a folder.
const SERVER: [(&str, &[&str]); 19] = [
    ("lib", &[]),
    ("main", &["check", "config", "metrics", "server", "sys"]),
    ("check", &[]),
    ("config", &["engine"]),
    ("conn", &[]),
    ("drain", &[]),
    ("sys", &[]),
    ("engine", &["engine/*", "listener", "worker"]),
    ("engine/iocp", ENGINE),
    ("engine/mio", ENGINE),
    ("engine/tokio_uring", ENGINE),
    ("engine/uring", ENGINE),
    ("ledger", &[]),
    ("listener", &["policy", "sys"]),
    ("metrics", &["conn"]),
    ("policy", &["conn", "sys"]),
    ("proactor", &["conn"]),
    ("server", &["config", "drain", "engine", "ledger", "listener", "metrics", "policy", "sys", "worker"]),
    ("worker", &["conn", "drain", "ledger", "metrics", "policy", "proactor"]),
];

/// One engine knows nothing of another.
const ENGINE: &[&str] =
    &["conn", "drain", "ledger", "listener", "metrics", "policy", "proactor", "sys", "worker"];

/// The modules of the generator.
const LOADGEN: [(&str, &[&str]); 26] = [
    ("lib", &[]),
    ("main", &["config", "embedded", "freeze", "output", "report", "scenario"]),
    ("clock", &[]),
    ("config", &["rtt"]),
    ("control", &["clock"]),
    ("doctor", &["host", "sources", "sys"]),
    ("embedded", &["outcome", "report", "sys"]),
    ("fault", &[]),
    ("freeze", &["sys"]),
    ("host", &["report"]),
    ("ledger", &["clock", "outcome", "payload"]),
    ("outcome", &[]),
    ("output", &["sys"]),
    ("pacer", &["clock"]),
    ("payload", &[]),
    ("progress", &["report"]),
    ("recorder", &["clock", "ledger", "outcome", "report", "script"]),
    ("report", &["ledger", "outcome"]),
    (
        "rtt",
        &["clock", "control", "outcome", "pacer", "payload", "recorder", "report", "script", "swarm", "sys"],
    ),
    (
        "scenario",
        &[
            "clock", "config", "control", "doctor", "embedded", "freeze", "host", "ledger", "outcome",
            "pacer", "progress", "recorder", "report", "rtt", "script", "split", "swarm", "sys", "validity",
        ],
    ),
    ("script", &["clock", "fault", "ledger", "outcome"]),
    ("sources", &[]),
    ("split", &["sys"]),
    (
        "swarm",
        &[
            "clock", "control", "fault", "ledger", "outcome", "pacer", "payload", "recorder", "report",
            "script", "sys",
        ],
    ),
    ("sys", &[]),
    ("validity", &["outcome", "report"]),
];

/// The generator judges from outside: of the server, only the embedded target knows.
const KNOWS_THE_SERVER: &str = "loadgen/src/embedded.rs";

/// Where operating systems are told apart.
const OS_FILES: [&str; 3] = ["server/src/engine.rs", "server/src/sys.rs", "loadgen/src/sys.rs"];

/// The machines, which do no I/O and have no clock.
const MACHINES: [&str; 9] = [
    "server/src/conn.rs",
    "server/src/ledger/session.rs",
    "server/src/ledger/books.rs",
    "loadgen/src/ledger/answer.rs",
    "loadgen/src/ledger/book.rs",
    "loadgen/src/ledger/order.rs",
    "loadgen/src/script.rs",
    "loadgen/src/script/claim.rs",
    "loadgen/src/script/visit.rs",
];

/// Where `unsafe` may be written, by how the path begins.
const UNSAFE_FILES: [&str; 4] = [
    "server/src/engine/uring",
    "server/src/engine/iocp",
    "server/src/sys.rs",
    "server/tests/it/closing_table/calls.rs",
];

/// Packages of the workspace.
const PACKAGES: [&str; 3] = ["server", "bench", "loadgen"];

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

type Check = fn(&str, &str) -> Vec<Finding>;

#[test]
fn modules_import_only_what_they_may() {
    assert_tidy(imports);
}

#[test]
fn the_generator_knows_the_server_in_one_file() {
    assert_tidy(independence);
}

#[test]
fn operating_systems_are_told_apart_in_few_files() {
    assert_tidy(os_cfg);
}

#[test]
fn the_machine_does_no_io() {
    assert_tidy(machine_io);
}

#[test]
fn files_open_with_a_sentence() {
    assert_tidy(opening);
}

#[test]
fn files_stay_short() {
    assert_tidy(length);
}

#[test]
fn unsafe_stays_where_the_kernel_is() {
    assert_tidy(unsafe_keyword);
}

fn imports(path: &str, text: &str) -> Vec<Finding> {
    let Some(Place { module, package, table }) = place_of(path) else { return Vec::new() };
    let Some((owner, allowed)) =
        owner_of(table, &module).filter(|&(owner, _)| owner != "engine" || module == owner)
    else {
        let rule = format!("`{module}` is not in its package's map above: say there what it may import");
        return vec![finding(path, 1, rule)];
    };
    let may = |to: &str| {
        to == owner
            || allowed.iter().any(|&allowed| match allowed.strip_suffix('*') {
                Some(folder) => to.starts_with(folder),
                None => to == allowed,
            })
    };
    paths(&code(text))
        .filter_map(|(line, path)| Some((line, imported(table, package, &module, path)?)))
        .filter(|(_, to)| !may(to))
        .map(|(line, to)| match to.as_str() {
            "" => finding(path, line, "a `use` names the module: no `crate::{..}`, no `crate::*`".to_owned()),
            _ => finding(path, line, format!("`{owner}` imports `{to}`, but may import only {allowed:?}")),
        })
        .collect()
}

fn os_cfg(path: &str, text: &str) -> Vec<Finding> {
    if place_of(path).is_none() || OS_FILES.contains(&path) {
        return Vec::new();
    }
    // The words that are used for nothing else count wherever they stand: an attribute may take several lines.
    let is_bad = |line: &str| {
        has_word(line, "target_os")
            || has_word(line, "target_family")
            || (line.contains("cfg") && (has_word(line, "unix") || has_word(line, "windows")))
    };
    found(path, &code(text), is_bad, "a cfg on the operating system belongs in engine.rs or sys.rs")
}

fn independence(path: &str, text: &str) -> Vec<Finding> {
    if !path.starts_with("loadgen/") || path == KNOWS_THE_SERVER {
        return Vec::new();
    }
    let rule = "the generator shares nothing with the server: only its embedded target may name it";
    found(path, &code(text), |line| has_word(line, "finwait_server"), rule)
}

fn machine_io(path: &str, text: &str) -> Vec<Finding> {
    if !MACHINES.contains(&path) {
        return Vec::new();
    }
    let is_bad = |name: &str| {
        let module = name.strip_prefix("std::").and_then(|rest| rest.split("::").next());
        // Nothing behind `std::` is a group, which hides what is in it.
        module.is_some_and(|module| ["io", "net", "time", "thread", ""].contains(&module))
    };
    let rule = |name| format!("the machine does no I/O and has no clock, but names `{name}`");
    let code = code(text);
    let bad = paths(&code).filter(|(_, name)| is_bad(name));
    bad.map(|(line, name)| finding(path, line, rule(name))).collect()
}

fn opening(path: &str, text: &str) -> Vec<Finding> {
    let first = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
    let mut header = text.lines().take_while(|line| line.starts_with("//!"));
    if first.starts_with(|first: char| first.is_uppercase() || first == '`')
        && header.any(|line| line.contains('.'))
    {
        return Vec::new();
    }
    vec![finding(path, 1, "a file opens with a `//!` sentence that says what it is for".to_owned())]
}

fn length(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    let rule = format!("{lines} lines, where {LINES_MAX} are the most and 70 to 400 the aim: split it");
    vec![finding(path, LINES_MAX + 1, rule)]
}

fn unsafe_keyword(path: &str, text: &str) -> Vec<Finding> {
    if UNSAFE_FILES.iter().any(|allowed| path.starts_with(allowed)) {
        return Vec::new();
    }
    let rule = format!("`unsafe` may stand only in {UNSAFE_FILES:?}");
    found(path, &code(text), |line| has_word(line, "unsafe"), &rule)
}

/// Where a file stands in a package that has a map.
struct Place {
    module: String,
    /// What the package is called from outside.
    package: &'static str,
    table: &'static Table,
}

/// The module of a source file: `server/src/engine/mio/door.rs` is the server's `engine/mio/door`.
fn place_of(path: &str) -> Option<Place> {
    let (folder, file) = path.split_once("/src/")?;
    let (_, package, table) = MAPS.into_iter().find(|&(name, ..)| name == folder)?;
    let module = file.strip_suffix(".rs")?.trim_end_matches("/mod").to_owned();
    Some(Place { module, package, table })
}

/// The entry that says what a module may import: its own, or that of the nearest module that it is in.
fn owner_of(table: &'static Table, module: &str) -> Option<(&'static str, &'static [&'static str])> {
    let is_in =
        |owner: &str| module.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    table.iter().copied().filter(|(owner, _)| is_in(owner)).max_by_key(|(owner, _)| owner.len())
}

/// The module of ours that a path in `module` leads to: one of the map, or as it stands there when none is.
fn imported(table: &'static Table, package: &str, module: &str, path: &str) -> Option<String> {
    let mut at: Vec<&str> = module.split('/').filter(|&module| module != "lib" && module != "main").collect();
    let mut segments = path.split("::").filter(|segment| !segment.is_empty()).peekable();
    match segments.next()? {
        "crate" => at.clear(),
        name if name == package && module == "main" => {}
        "self" => {}
        "super" => {
            at.pop();
            while segments.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        _ => return None,
    }
    at.extend(segments);
    let full = at.join("/");
    Some(owner_of(table, &full).map_or_else(|| full.clone(), |(owner, _)| owner.to_owned()))
}

/// Every path in the code, by line, as far as it stands in one piece: of `crate::a::{B, C}` that is `crate::a::`.
fn paths(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_outside = |next: char| !next.is_alphanumeric() && next != '_' && next != ':';
    let lines = code.lines().enumerate();
    lines
        .flat_map(move |(index, line)| line.split(is_outside).map(move |path| (index + 1, path)))
        .filter(|(_, path)| path.contains("::"))
}

/// The text without comments and without what stands in quotes, line by line as it was.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    for line in text.lines() {
        let mut chars = line.chars().peekable();
        while let Some(next) = chars.next() {
            match next {
                '\\' if in_string => drop(chars.next()),
                '"' => in_string = !in_string,
                _ if in_string => {}
                // A character, which may itself be a quote. Other single quotes begin a lifetime.
                '\'' if chars.peek() == Some(&'\\') => {
                    let _ = (chars.next(), chars.next(), chars.find(|&end| end == '\''));
                }
                '\'' if chars.clone().nth(1) == Some('\'') => drop((chars.next(), chars.next())),
                '/' if chars.peek() == Some(&'/') => break,
                _ => code.push(next),
            }
        }
        code.push('\n');
    }
    code
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|next: char| !next.is_alphanumeric() && next != '_').any(|found| found == word)
}

fn found(path: &str, code: &str, is_bad: impl Fn(&str) -> bool, rule: &str) -> Vec<Finding> {
    let lines = code.lines().enumerate().filter(|(_, line)| is_bad(line));
    lines.map(|(index, _)| finding(path, index + 1, rule.to_owned())).collect()
}

fn finding(path: &str, line: usize, rule: String) -> Finding {
    Finding { path: path.to_owned(), line, rule }
}

/// Runs a check over every source file of the workspace.
fn assert_tidy(check: Check) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace");
    let mut findings = Vec::new();
    let mut files = 0;
    for package in PACKAGES.iter().map(|package| root.join(package)).filter(|package| package.is_dir()) {
        visit(&package, &mut |file| {
            let path = file.strip_prefix(root).expect("a file of the workspace");
            let path = path.to_str().expect("a path in UTF-8").replace('\\', "/");
            let text = fs::read_to_string(file).expect("a source file can be read");
            findings.extend(check(&path, &text).iter().map(Finding::to_string));
            files += 1;
        });
    }
    assert!(files > 20, "only {files} files were looked at");
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn visit(folder: &Path, see: &mut dyn FnMut(&Path)) {
    let entries = fs::read_dir(folder).expect("a folder can be read");
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    entries.sort();
    for entry in entries {
        // Fuzzing builds in a place of its own.
        if entry.is_dir() && !entry.ends_with("target") {
            visit(&entry, see);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            see(&entry);
        }
    }
}

/// The lines that a check finds in a snippet.
fn lines_of(check: Check, path: &str, text: &str) -> Vec<usize> {
    check(path, text).iter().map(|finding| finding.line).collect()
}

#[test]
fn an_import_that_is_not_allowed_is_found() {
    let conn = "server/src/conn.rs";
    assert_eq!(lines_of(imports, conn, "//! x\nuse crate::policy::BACKLOG;\n"), [2]);
    assert_eq!(lines_of(imports, conn, "use crate::{\n    drain::Stage,\n    conn::Op,\n};\n"), [1]);
    assert_eq!(lines_of(imports, conn, "fn f() -> super::metrics::Tally {}\n"), [1]);
    assert_eq!(lines_of(imports, conn, "use super::*;\n"), [1]);
    assert_eq!(lines_of(imports, conn, "use self::Fin;\nuse crate::conn::Op;\n"), [0; 0]);
    assert_eq!(lines_of(imports, conn, "// crate::policy\nlet x = \"crate::policy::X\";\n"), [0; 0]);
    let mio = "server/src/engine/mio/door.rs";
    assert_eq!(lines_of(imports, mio, "use super::super::uring::Uring;\n"), [1]);
    assert_eq!(lines_of(imports, mio, "use crate::engine::uring;\n"), [1]);
    assert_eq!(lines_of(imports, mio, "use crate::engine::EngineKind;\n"), [1]);
    assert_eq!(
        lines_of(imports, mio, "use super::blocks::Pool;\nuse crate::worker::{self, Ready};\n"),
        [0; 0]
    );
    let accepting = "server/src/worker/accepting.rs";
    assert_eq!(lines_of(imports, accepting, "use super::{Slot, slot};\nuse crate::engine::mio;\n"), [2]);
    assert_eq!(lines_of(imports, "server/src/engine.rs", "use self::mio::run;\nuse crate::conn::Op;\n"), [2]);
    assert_eq!(lines_of(imports, "server/src/main.rs", "use finwait_server::conn::Op;\n"), [1]);
    assert_eq!(lines_of(imports, "server/src/main.rs", "use finwait_server::{sys, drain};\n"), [1]);
    assert_eq!(lines_of(imports, "server/src/server.rs", "let x = crate::engine::uring::probe();\n"), [1]);
    assert_eq!(lines_of(imports, "server/src/server.rs", "use crate::engine::{self, EngineKind};\n"), [0; 0]);
    assert_eq!(lines_of(imports, "server/src/engine/kqueue.rs", "//! New.\n"), [1]);
    assert_eq!(lines_of(imports, "server/src/stray.rs", "//! New.\n"), [1]);
}

#[test]
fn an_import_in_the_generator_that_is_not_allowed_is_found() {
    let swarm = "loadgen/src/swarm/connect.rs";
    assert_eq!(lines_of(imports, swarm, "use super::Swarm;\nuse crate::scenario::Job;\n"), [2]);
    assert_eq!(lines_of(imports, "loadgen/src/main.rs", "use finwait_loadgen::{sys};\n"), [1]);
    assert_eq!(lines_of(imports, "loadgen/src/main.rs", "use finwait_loadgen::config::Cli;\n"), [0; 0]);
    assert_eq!(lines_of(independence, swarm, "use finwait_server::conn::Conn;\n"), [1]);
    assert_eq!(lines_of(independence, "loadgen/tests/it/main.rs", "fn f(a: finwait_server::A) {}\n"), [1]);
    assert_eq!(lines_of(independence, KNOWS_THE_SERVER, "use finwait_server::server::Server;\n"), [0; 0]);
    assert_eq!(lines_of(os_cfg, swarm, "#[cfg(unix)]\n"), [1]);
    assert_eq!(lines_of(machine_io, "loadgen/src/script.rs", "use std::time::Duration;\n"), [1]);
}

#[test]
fn a_cfg_on_the_system_is_found() {
    let text = "#[cfg(unix)]\nif cfg!(windows) {}\n#[cfg(all(test, target_os = \"linux\"))]\n#[cfg(test)]\n";
    assert_eq!(lines_of(os_cfg, "server/src/policy.rs", text), [1, 2, 3]);
    assert_eq!(lines_of(os_cfg, "server/src/sys.rs", text), [0; 0]);
    assert_eq!(lines_of(os_cfg, "server/src/policy.rs", "use std::os::unix::net;\n// cfg(unix)\n"), [0; 0]);
}

#[test]
fn io_in_the_machine_is_found() {
    let conn = "server/src/conn.rs";
    let text =
        "use std::{fmt, io};\nfn f(d: std::time::Duration) {}\nuse std::thread;\nuse std::net::Shutdown;\n";
    assert_eq!(lines_of(machine_io, conn, text), [1, 2, 3, 4]);
    assert_eq!(lines_of(machine_io, "server/src/policy.rs", text), [0; 0]);
    assert_eq!(lines_of(machine_io, conn, "use std::fmt;\nuse std::mem::take;\n"), [0; 0]);
}

#[test]
fn a_file_without_a_sentence_is_found() {
    let path = "bench/src/lib.rs";
    for text in ["", "use std::io;\n", "//!\n", "//! x\n", "// What it is.\n", "\n//! Late.\n"] {
        assert_eq!(lines_of(opening, path, text), [1], "{text:?}");
    }
    assert_eq!(lines_of(opening, path, "//! What it is,\n//! over two lines.\n"), [0; 0]);
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(lines_of(length, "bench/src/lib.rs", &"\n".repeat(LINES_MAX + 1)), [LINES_MAX + 1]);
    assert_eq!(lines_of(length, "bench/src/lib.rs", &"\n".repeat(LINES_MAX)), [0; 0]);
}

#[test]
fn unsafe_in_a_safe_place_is_found() {
    let text = "//! Nothing unsafe.\n#[deny(unsafe_code)]\nlet x = unsafe { f() };\n";
    assert_eq!(lines_of(unsafe_keyword, "server/src/worker.rs", text), [3]);
    assert_eq!(lines_of(unsafe_keyword, "loadgen/src/swarm.rs", text), [3]);
    assert_eq!(lines_of(unsafe_keyword, "server/tests/it/closing_table/closer.rs", text), [3]);
    assert_eq!(lines_of(unsafe_keyword, "server/src/engine/uring/ring.rs", text), [0; 0]);
}

#[test]
fn comments_and_quotes_are_no_code() {
    let text = "a(\"x \\\" // y\", b); // c\n'\"' '\\'' 'd \"over\ntwo\" e\n";
    assert_eq!(code(text), "a(, b); \n  'd \n e\n");
}
