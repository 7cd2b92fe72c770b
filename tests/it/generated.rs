//! Files that are made from the program, so that a changed flag shows in review.
//! `KDBG_BLESS=1 cargo test --all-features --test it generated` writes them anew.

use std::{fmt::Write as _, path::Path};

use clap::CommandFactory as _;
use kdbg::cli::command::Cli;

#[test]
fn the_cli_reference_is_what_the_program_says() {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut page = String::from(
        "# Command line reference\n\nMade from the program; see `tests/it/generated.rs`.\n",
    );
    section(&mut page, &mut root.clone());
    for command in root.get_subcommands_mut() {
        section(&mut page, command);
    }
    compare("docs/cli-reference.md", &page);
}

fn section(page: &mut String, command: &mut clap::Command) {
    let name = command.get_bin_name().unwrap_or("kdbg").to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    write!(page, "\n## {name}\n\n```\n{}\n```\n", help.join("\n")).unwrap();
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    let kdbg = || assert_cmd::Command::new(env!("CARGO_BIN_EXE_kdbg"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = kdbg()
            .args(["completions", shell])
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        assert!(
            String::from_utf8_lossy(&output).contains("diff-src"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    kdbg().arg("man").arg(folder.path()).assert().success();
    for command in Cli::command().get_subcommands() {
        let page = folder.path().join(format!("kdbg-{}.1", command.get_name()));
        assert!(page.exists(), "{}", page.display());
    }
}

fn compare(path: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("KDBG_BLESS").is_some() {
        std::fs::write(&path, content).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == content,
        "{} is out of date: run with KDBG_BLESS=1",
        path.display()
    );
}
