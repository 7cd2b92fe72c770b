//! What an image says of its origin, checked: real binaries, packages, archives and folders of git.

use std::{fs, process::Command};

use kdbg::object::HashKind;
use serde_json::Value;

use super::{Story, process, text, tree, write};
use crate::support::{
    git::{git, run},
    running::{Running, assert_code, python},
};

/// The claims of one kind.
fn evidence<'a>(json: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = json["evidence"].as_array().unwrap();
    all.iter().filter(|claim| claim["kind"] == kind).collect()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("version").output().is_ok();
    if !is_there {
        eprintln!("skipped, there is no `{program}`");
    }
    is_there
}

/// main: a Go service with static files, in two versions.
fn go_service() -> Story {
    let mut story = Story::new(HashKind::Sha1);
    let files = |page: &str| {
        tree(&[
            ("go.mod", "module git.example/shop\n\ngo 1.20\n"),
            (
                "main.go",
                "package main\n\nimport (\n\t\"fmt\"\n\t\"time\"\n)\n\nfunc main() {\n\tfmt.Println(\"ready\")\n\ttime.Sleep(time.Hour)\n}\n",
            ),
            ("static/index.html", page),
            ("static/style.css", "body {}\n"),
        ])
    };
    story.commit("refs/heads/main", &[], &files("one\n"));
    story.commit("refs/heads/main", &[1], &files("two\n"));
    story.tell();
    story
}

/// Builds a commit of the service as its pipeline would, and returns the folder of the image.
fn build(story: &Story, commit: usize, flags: &[&str], dirty: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let from = story.repository.path().to_str().unwrap();
    run(
        &mut git(folder.path(), &["clone", "-q", from, "source"]),
        b"",
        &[0],
    );
    run(
        &mut git(&source, &["checkout", "-q", &story.id(commit)]),
        b"",
        &[0],
    );
    if dirty {
        fs::write(source.join("more.go"), "package main\n").unwrap();
    }
    let app = folder.path().join("app");
    fs::create_dir(&app).unwrap();
    succeed(
        Command::new("go")
            .args(["build", "-o"])
            .arg(app.join("server"))
            .args(flags)
            .current_dir(&source)
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*"),
    );
    succeed(
        Command::new("cp")
            .arg("-r")
            .arg(source.join("static"))
            .arg(&app),
    );
    folder
}

#[test]
fn the_revision_in_a_go_binary_is_compared_with_the_files_beside_it() {
    if !has("go") {
        return;
    }
    let story = go_service();
    let folder = build(&story, 1, &["-buildvcs=true", "-ldflags=-s -w"], false);
    let app = folder.path().join("app");
    let running = Running::start(Command::new(app.join("server")).current_dir(&app));
    let json = story.json(&running, &[]);
    let claim = evidence(&json, "go-build-info")[0];
    assert_eq!(claim["revision"], story.id(1));
    assert_eq!(claim["modified"], false);
    assert_eq!(claim["check"]["verdict"], "fits", "{claim:#}");
    // What was put beside it afterwards is of another commit.
    fs::write(app.join("static/index.html"), "two\n").unwrap();
    let output = story.ask(&running, &[]);
    assert_code(&output, 1);
    assert!(
        text(&output).contains("contradicted, 1 of 2 files differ"),
        "{}",
        text(&output)
    );
    assert!(
        text(&output).contains("app/static/index.html\n"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_go_binary_says_when_it_was_built_with_changes_and_when_it_says_nothing() {
    if !has("go") {
        return;
    }
    let story = go_service();
    for (flags, dirty, modified) in [
        (&["-buildvcs=true"][..], true, Some(true)),
        (&["-buildvcs=false"], false, None),
    ] {
        let folder = build(&story, 2, flags, dirty);
        let app = folder.path().join("app");
        let running = Running::start(Command::new(app.join("server")).current_dir(&app));
        let json = story.json(&running, &[]);
        let claims = evidence(&json, "go-build-info");
        let commit = claims.iter().find(|claim| claim["revision"].is_string());
        assert_eq!(
            commit.map(|claim| &claim["modified"]),
            modified.map(Value::Bool).as_ref()
        );
        // Without a commit the module is still named.
        if modified.is_none() {
            assert_eq!(claims[0]["name"], "git.example/shop", "{json:#}");
        }
        assert_eq!(json["answers"][0]["newest"]["id"], story.id(2));
    }
}

#[test]
fn an_installed_package_that_was_edited_is_named() {
    let story = super::pull_request();
    let files = tree(&[
        ("page.py", "page 2\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 2\n"),
    ]);
    let (running, folder) = process(&files);
    let site = folder.path().join("lib/site-packages");
    write(
        &site,
        &tree(&[
            ("lib/__init__.py", "one\n"),
            ("lib/core.py", "two\n"),
            ("lib/same.py", "abc\n"),
        ]),
    );
    // As pip writes it.
    let script = r#"
import base64, hashlib, pathlib, sys
top = pathlib.Path(sys.argv[1]); info = top / "lib-1.0.dist-info"; info.mkdir()
rows = []
for path in sorted(top.glob("lib/*.py")):
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")
    rows.append(f"{path.relative_to(top)},sha256={digest},{path.stat().st_size}")
rows += ["lib/gone.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0", "lib-1.0.dist-info/RECORD,,"]
(info / "RECORD").write_text("\n".join(rows) + "\n")
"#;
    succeed(Command::new(python()).args(["-c", script]).arg(&site));
    let json = story.json(&running, &[]);
    let check = |json: &Value| evidence(json, "python-record")[0]["check"].clone();
    assert_eq!(
        check(&json),
        serde_json::json!({"verdict": "fits", "compared": 3})
    );
    assert_eq!(story.ask(&running, &[]).status.code(), Some(0));
    // One of another size, one of the same.
    fs::write(site.join("lib/core.py"), "patched\n").unwrap();
    fs::write(site.join("lib/same.py"), "abd\n").unwrap();
    let json = story.json(&running, &[]);
    let path = |name: &str| site.join(name).to_str().unwrap().to_owned();
    assert_eq!(
        check(&json),
        serde_json::json!({"verdict": "contradicts", "compared": 3, "files": [path("lib/core.py"), path("lib/same.py")]})
    );
    assert_eq!(story.ask(&running, &[]).status.code(), Some(1));
}

#[test]
fn a_git_folder_in_the_image_is_read_and_its_claim_is_checked() {
    let story = super::pull_request();
    let folder = tempfile::tempdir().unwrap();
    let from = story.repository.path().to_str().unwrap();
    run(
        &mut git(folder.path(), &["clone", "-q", from, "app"]),
        b"",
        &[0],
    );
    let app = folder.path().join("app");
    let running = Running::in_folder(&app);
    let claim = |json: &Value| evidence(json, "git-folder")[0].clone();
    let json = story.json(&running, &[]);
    assert_eq!(claim(&json)["revision"], story.id(4));
    assert_eq!(claim(&json)["check"]["verdict"], "fits");
    // Packed refs, and a commit that is checked out by itself.
    run(&mut git(&app, &["pack-refs", "--all"]), b"", &[0]);
    assert_eq!(claim(&story.json(&running, &[]))["revision"], story.id(4));
    fs::write(app.join(".git/HEAD"), story.id(1)).unwrap();
    let json = story.json(&running, &[]);
    assert_eq!(claim(&json)["revision"], story.id(1));
    assert_eq!(claim(&json)["check"]["verdict"], "contradicts");
}

#[test]
fn the_sources_in_a_source_map_find_the_commit_when_nothing_else_is_there() {
    let mut story = Story::new(HashKind::Sha1);
    let files = |a: &str| tree(&[("web/src/a.ts", a), ("web/src/b.ts", "b\n")]);
    story.commit("refs/heads/main", &[], &files("a 1\n"));
    story.commit("refs/heads/main", &[1], &files("a 2\n"));
    story.tell();
    let map = r#"{"version": 3, "sources": ["webpack://web/./src/a.ts", "webpack://web/./src/b.ts", "webpack://web/webpack/bootstrap"], "sourcesContent": ["a 1\n", "b\n", "x"], "mappings": ""}"#;
    let (running, _folder) = process(&tree(&[
        ("dist/app.js", "minified"),
        ("dist/app.js.map", map),
    ]));
    let json = story.json(&running, &[]);
    assert_eq!(json["answers"][0]["newest"]["id"], story.id(1));
    assert_eq!(
        evidence(&json, "source-map")[0]["check"],
        serde_json::json!({"verdict": "fits", "compared": 2})
    );
}

#[test]
fn the_commit_in_a_jar_is_checked_against_the_files_beside_it() {
    let story = super::pull_request();
    let files = tree(&[
        ("page.py", "page 2\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 2\n"),
    ]);
    let (running, folder) = process(&files);
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED); z.writestr('BOOT-INF/classes/git.properties', 'git.commit.id.full=' + sys.argv[2] + '\\ngit.dirty=false\\ngit.remote.origin.url=https\\\\://git.example/other.git\\n'); z.close()";
    let jar = |id: &str| {
        succeed(
            Command::new(python())
                .args(["-c", script])
                .arg(folder.path().join("app.jar"))
                .arg(id),
        );
    };
    for (commit, verdict) in [(4, "fits"), (3, "contradicts")] {
        jar(&story.id(commit));
        let json = story.json(&running, &[]);
        assert_eq!(
            evidence(&json, "git-properties")[0]["check"]["verdict"],
            verdict
        );
    }
    jar("1234567890123456789012345678901234567890");
    story
        .repository
        .git(&["remote", "add", "origin", "git@git.example:shop.git"]);
    let json = story.json(&running, &[]);
    let claim = evidence(&json, "git-properties")[0];
    assert_eq!(claim["check"]["verdict"], "unchecked");
    assert_eq!(
        claim["warning"],
        "it names another repository, https://git.example/other.git"
    );
}

#[test]
fn the_dependency_list_in_a_rust_binary_names_its_version() {
    if !has("objcopy") {
        return;
    }
    let mut story = super::pull_request();
    story.point("refs/tags/v0.3.0", 4);
    story.tell();
    let files = tree(&[
        ("page.py", "page 2\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 2\n"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &files);
    // As `cargo auditable` writes it, put into a program that is there.
    let script = "import sys, zlib, json; open(sys.argv[1], 'wb').write(zlib.compress(json.dumps({'packages': [{'name': 'dep', 'version': '1.0.0', 'source': 'crates.io'}, {'name': 'shop', 'version': '0.3.0', 'source': 'local', 'root': True}]}).encode()))";
    let (list, program) = (folder.path().join("list"), folder.path().join("shop"));
    succeed(Command::new(python()).args(["-c", script]).arg(&list));
    let sleep = String::from_utf8(
        Command::new("sh")
            .args(["-c", "command -v sleep"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    succeed(
        Command::new("objcopy")
            .arg("--add-section")
            .arg(format!(".dep-v0={}", list.display()))
            .arg(sleep.trim())
            .arg(&program),
    );
    let mut child = Command::new(&program)
        .arg("600")
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let repository = story.repository.path().to_str().unwrap();
    let target = format!("pid/{}", child.id());
    let output = crate::support::running::command([
        "which-ref",
        &target,
        "--repo",
        repository,
        "-o",
        "json",
    ])
    .env("XDG_CACHE_HOME", story.cache.path())
    .output();
    child.kill().unwrap();
    child.wait().unwrap();
    let json: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let claim = evidence(&json, "rust-auditable")[0];
    assert_eq!(
        (claim["name"].as_str(), claim["version"].as_str()),
        (Some("shop"), Some("0.3.0"))
    );
    assert_eq!(claim["check"]["verdict"], "fits");
}

#[test]
fn what_composer_npm_pip_maven_and_a_manifest_say_is_checked_each_against_the_files() {
    let mut story = super::pull_request();
    story.point("refs/tags/v2", 4);
    story.tell();
    let (right, wrong) = (story.id(4), story.id(1));
    let installed = |commit: &str| {
        format!(
            "<?php return array(\n    'root' => array(\n        'name' => 'a/shop',\n        'reference' => '{commit}',\n    ),\n    'versions' => array(),\n);\n"
        )
    };
    let manifest = |commit: &str| {
        format!("Manifest-Version: 1.0\r\nImplementation-SCM-Revision: {commit}\r\n")
    };
    let package =
        |commit: &str| format!(r#"{{"name": "shop", "version": "2.0.0", "gitHead": "{commit}"}}"#);
    let direct = |commit: &str| {
        format!(
            r#"{{"url": "https://git.example/shop", "vcs_info": {{"vcs": "git", "commit_id": "{commit}"}}}}"#
        )
    };
    let properties = |version: &str| format!("groupId=a\nartifactId=shop\nversion={version}\n");
    let report = |commit: &str, version: &str| {
        let (running, _folder) = process(&tree(&[
            ("page.py", "page 2\n"),
            ("util.py", "util\n"),
            ("requirements.txt", "lock 2\n"),
            ("vendor/composer/installed.php", &installed(commit)),
            ("META-INF/MANIFEST.MF", &manifest(commit)),
            ("META-INF/maven/a/shop/pom.properties", &properties(version)),
            ("package.json", &package(commit)),
            ("lib/shop-2.dist-info/direct_url.json", &direct(commit)),
        ]));
        story.json(&running, &[])
    };
    let json = report(&right, "2");
    let kinds = [
        "composer",
        "manifest",
        "maven-properties",
        "package-json",
        "python-direct-url",
    ];
    for kind in kinds {
        let claims = evidence(&json, kind);
        assert_eq!(claims.len(), 1, "{kind}: {json:#}");
        assert_eq!(claims[0]["check"]["verdict"], "fits", "{kind}: {json:#}");
    }
    // What they say is not believed.
    let json = report(&wrong, "2");
    for kind in kinds.iter().filter(|kind| **kind != "maven-properties") {
        let claims = evidence(&json, kind);
        assert_eq!(
            claims[0]["check"]["verdict"], "contradicts",
            "{kind}: {json:#}"
        );
    }
    // The search itself goes by the files.
    assert_eq!(json["answers"][0]["newest"]["id"], right, "{json:#}");
}
