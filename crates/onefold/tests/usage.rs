//! A wrong command line is an error as any other, exit code 1: 2 means something else to `plan` and to `verify`.

#![allow(clippy::unwrap_used, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::onefold;

#[test]
fn a_wrong_command_line_exits_with_1_and_says_why_on_stderr() {
    for (args, expected) in [
        (&[][..], "Usage: onefold"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["plan"], "<FILES>..."),
        (&["plan", "--prunee", "w.yaml"], "--prunee"),
        (&["verify", "--date", "here"], "--date"),
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["quarantine", "send"], "<NUMBER>"),
        (&["deliveries", "discard", "hook"], "<NUMBER>"),
        (&["decisions", "link", "user_id:u1"], "<B>"),
        (&["decisions", "link", "u1", "user_id:u2"], "expected `type:value`, as in `email:ada@example.com`"),
        (&["decisions", "undo", "first"], "invalid digit"),
        (&["decisions", "list", "--reason", "none"], "--reason"),
    ] {
        let (code, out, error) = onefold(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn a_wrong_value_in_the_config_file_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("onefold.yaml");
    std::fs::write(&file, "cache_mib: lots\n").unwrap();
    let (code, out, error) = onefold(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    assert!(error.contains("--cache-mib"), "{error}");
}

#[test]
fn a_reader_that_has_enough_is_no_error_and_a_full_disk_is_one() {
    let run = |out: std::process::Stdio| {
        let check = ["check", "traits.plan = \"pro\""];
        let child =
            std::process::Command::new(env!("CARGO_BIN_EXE_onefold")).args(check).stdout(out).output();
        let child = child.unwrap();
        (child.status.code(), String::from_utf8(child.stderr).unwrap())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(writer.into()), (Some(0), String::new()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, error) = run(full.into());
    assert_eq!(code, Some(1), "{error}");
    assert!(error.starts_with("error: the output cannot be written: "), "{error}");
}

#[test]
fn help_says_what_a_command_reads_and_what_it_changes() {
    for (command, expected) in [
        ("serve", &["ONEFOLD_LOG says", "--new-journal"][..]),
        ("verify", &["the folder is opened as a start opens it"]),
        ("deliveries", &["onefold deliveries discard hook"]),
    ] {
        let (_, out, _) = onefold(&[command, "--help"]);
        let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in expected {
            assert!(out.contains(text), "{command}: {text}: {out}");
        }
        assert!(command != "verify" || !out.contains("changes nothing"), "{out}");
    }
}

#[test]
fn help_and_version_exit_with_0_and_help_has_examples() {
    let (code, out, _) = onefold(&["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("onefold ", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = onefold(&["--help"]);
    assert!(code == 0 && out.contains("decisions"), "{out}");
    for command in ["serve", "verify", "plan", "profile", "deliveries", "quarantine", "decisions"] {
        let (code, out, error) = onefold(&[command, "--help"]);
        assert_eq!((code, error.as_str()), (0, ""), "{command}");
        assert!(
            out.contains("Example") && out.contains(&format!("\n  onefold {command}")),
            "{command}: {out}"
        );
    }
}
