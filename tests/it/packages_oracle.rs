//! Which files the packages of a distribution brought, beside what the package manager itself says.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use kdbg::evidence::packages::rpm_files;

/// Enough files that the header of their package takes several pages of the database.
const MANY: usize = 600;

#[test]
fn files_of_rpm_packages_are_those_that_rpm_lists() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let many: Vec<String> = (0..MANY)
        .map(|number| format!("/usr/lib/many/{}/file-{number}.py", number % 40))
        .collect();
    install(root, "many", &many);
    install(
        root,
        "few",
        &[
            "/usr/bin/few".to_owned(),
            "/opt/f\u{fc}r/few.conf".to_owned(),
        ],
    );
    install(root, "none", &[]);
    let listed = run(rpm(root).args(["-qa", "--qf", "[%{FILENAMES}\n]"]));
    let listed: BTreeSet<&str> = listed
        .lines()
        .filter(|line| line.starts_with('/'))
        .collect();
    assert_eq!(listed.len(), MANY + 2);

    let database = fs::read(root.join("db/rpmdb.sqlite")).unwrap();
    let mut found = HashSet::new();
    rpm_files(&database, &mut found).unwrap();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, listed);
}

/// Builds a package and notes it in the database below `root`.
fn install(root: &Path, name: &str, files: &[String]) {
    let mut make = String::new();
    for file in files {
        writeln!(make, "install -D /dev/null %{{buildroot}}{file}").unwrap();
    }
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
         %description\nx\n%install\n{make}\n%files\n{}\n",
        files.join("\n"),
    );
    let file = root.join(format!("{name}.spec"));
    fs::write(&file, spec).unwrap();
    let top = format!("_topdir {}", root.display());
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--define", "__os_install_post %{nil}"])
        .args(["--define", &top])
        .arg(&file));
    run(rpm(root)
        .args(["-i", "--justdb", "--nodeps", "--noscripts"])
        .arg(root.join(format!("RPMS/noarch/{name}-1-1.noarch.rpm"))));
}

fn rpm(root: &Path) -> Command {
    let mut command = Command::new("rpm");
    command
        .args(["--define", "_db_backend sqlite", "--dbpath"])
        .arg(root.join("db"));
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("rpm is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
