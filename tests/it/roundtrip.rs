//! There and back: a repository, a running tree made of one of its commits as images are made, and what
//! `diff-src` says of it. Whatever the build did is in its class of noise; what somebody changed is all that is left.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use sha2::{Digest as _, Sha256};

use crate::support::{
    fixtures::{Registry, release},
    git::{git, run},
    running::{Running, command, said},
    trees::write_out,
};

/// A repository and the folder that runs.
struct Scene {
    repository: tempfile::TempDir,
    running: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let repository = tempfile::tempdir().unwrap();
        let mut init = git(repository.path(), &["init", "-q", "-b", "main"]);
        run(&mut init, b"", &[0]);
        Self {
            repository,
            running: tempfile::tempdir().unwrap(),
        }
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.commit_index(message);
    }

    fn commit_index(&self, message: &str) {
        let mut command = git(self.repository.path(), &["commit", "-q", "-m", message]);
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "x")
                .env(format!("GIT_{role}_EMAIL"), "x@example.invalid");
        }
        run(&mut command, b"", &[0]);
    }

    fn app(&self) -> PathBuf {
        self.running.path().join("app")
    }

    /// What `diff-src` reports of a process in `app`.
    fn report(&self, reference: &str) -> serde_json::Value {
        self.ask("diff-src", reference)
    }

    /// What a command says of a process in `app`, beside a ref.
    fn ask(&self, what: &str, reference: &str) -> serde_json::Value {
        let process = Running::in_folder(&self.app());
        let repository = self.repository.path().to_str().unwrap();
        let target = process.target();
        let words = [
            what, &target, "--repo", repository, "--ref", reference, "-o", "json",
        ];
        let cache = self.running.path().join("cache");
        let output = command(words)
            .env("XDG_CACHE_HOME", cache)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }

    fn git(&self, arguments: &[&str]) -> String {
        let out = run(&mut git(self.repository.path(), arguments), b"", &[0]);
        String::from_utf8(out).unwrap().trim().to_owned()
    }
}

/// `M lib/a.js` for each real difference.
fn real(report: &serde_json::Value) -> BTreeSet<String> {
    let files = report["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            format!(
                "{} {}",
                file["status"].as_str().unwrap(),
                file["path"].as_str().unwrap()
            )
        })
        .collect()
}

/// The paths of a class of noise.
fn noise(report: &serde_json::Value, class: &str) -> BTreeSet<String> {
    let rows = report["noise"][class].as_array().unwrap().iter();
    rows.map(|row| row["path"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn assert_noise(report: &serde_json::Value, class: &str, path: &str) {
    let rows = noise(report, class);
    assert!(
        rows.contains(path),
        "{class}: {path} is not in {rows:?}\n{report:#}"
    );
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A published package, and what its image is made of.
struct Package {
    registry: Registry,
    name: &'static str,
    versions: &'static [&'static str],
    /// The release that runs.
    runs: &'static str,
    /// Another release with some of its files.
    other: &'static str,
    /// Folders of the release with where they are copied to below `/app`; the first may be the whole.
    copied: &'static [(&'static str, &'static str)],
    /// A file that somebody edits in the container: its path in the release.
    patched: &'static str,
}

const EXPRESS: Package = Package {
    registry: Registry::Npm,
    name: "express",
    versions: &[
        "4.16.0", "4.16.1", "4.16.2", "4.16.3", "4.16.4", "4.17.0", "4.17.1", "4.18.0", "4.18.1",
        "4.18.2", "4.19.2",
    ],
    runs: "4.17.1",
    other: "4.18.2",
    copied: &[("", "")],
    patched: "lib/router/index.js",
};

const FLASK: Package = Package {
    registry: Registry::Pip,
    name: "Flask",
    versions: &[
        "2.0.0", "2.0.1", "2.0.2", "2.0.3", "2.1.0", "2.1.1", "2.1.2", "2.1.3", "2.2.0", "2.2.1",
        "2.2.5", "2.3.3",
    ],
    runs: "2.1.2",
    other: "2.2.5",
    copied: &[("flask", "shop/flask")],
    patched: "flask/app.py",
};

const STATSVIZ: Package = Package {
    registry: Registry::Go,
    name: "github.com/arl/statsviz",
    versions: &[
        "v0.2.1", "v0.2.2", "v0.3.0", "v0.4.0", "v0.4.1", "v0.5.0", "v0.5.1", "v0.5.2", "v0.6.0",
        "v0.8.0",
    ],
    runs: "v0.5.1",
    other: "v0.4.1",
    copied: &[("internal/static", "web/assets")],
    patched: "internal/static/js/app.js",
};

/// The folder of the repository that has the service; there is more in it.
const SERVICE: &str = "services/shop";

impl Package {
    /// Makes a repository with a commit and a tag for each release; why not, when one cannot be had.
    fn scene(&self) -> Result<Scene, String> {
        let scene = Scene::new();
        let service = scene.repository.path().join(SERVICE);
        write(
            &scene.repository.path().join("services/cart/cart.py"),
            "cart\n".repeat(20),
        );
        write(&scene.repository.path().join("README"), "all services\n");
        for version in self.versions {
            let tree = release(self.registry, self.name, version)?;
            fs::remove_dir_all(&service).ok();
            fs::create_dir_all(&service).unwrap();
            write_out(&tree, &service);
            // What releases leave out and repositories have.
            write(
                &service.join("tests/test_all.js"),
                format!("test {version}\n"),
            );
            write(&service.join("docs/index.md"), format!("about {version}\n"));
            write(&service.join("Dockerfile"), "FROM scratch\nCOPY . /app\n");
            write(&service.join(".gitignore"), "*.pyc\n*.local\n");
            let folder = self.copied.first().map_or("", |(from, _)| from);
            write(&service.join(folder).join("notes.txt"), "one\ntwo\nthree\n");
            write(&service.join(".gitattributes"), "notes.txt text eol=crlf\n");
            scene.commit(version);
            let tag = git(scene.repository.path(), &["tag", &format!("r{version}")]).status();
            assert!(tag.unwrap().success());
        }
        Ok(scene)
    }

    /// Builds the image of a release, edits one file of it, and expects that one and no other.
    fn round_trip(&self) {
        let scene = match self.scene() {
            Ok(scene) => scene,
            Err(reason) => {
                eprintln!("skipped: {}: {reason}", self.name);
                return;
            }
        };
        let reference = format!("r{}", self.runs);
        let checkout = tempfile::tempdir().unwrap();
        let archive = run(
            &mut git(scene.repository.path(), &["archive", &reference, SERVICE]),
            b"",
            &[0],
        );
        let mut tar = std::process::Command::new("tar");
        run(tar.args(["-x", "-C"]).arg(checkout.path()), &archive, &[0]);
        let service = checkout.path().join(SERVICE);
        for left_out in [
            "tests",
            "docs",
            "Dockerfile",
            ".gitignore",
            ".gitattributes",
        ] {
            let path = service.join(left_out);
            fs::remove_file(&path)
                .or_else(|_| fs::remove_dir_all(&path))
                .unwrap();
        }
        for (from, to) in self.copied {
            copy(&service.join(from), &scene.app().join(to));
        }
        let (from, to) = self.copied[0];
        let running = scene.app().join(to);
        let patched = running.join(
            self.patched
                .strip_prefix(from)
                .unwrap()
                .trim_start_matches('/'),
        );
        let original = fs::read_to_string(&patched).unwrap();
        write(&patched, original.replacen('\n', "\n// hot patch\n", 1));
        write(
            &running.join("__pycache__/app.cpython-311.pyc"),
            "byte code",
        );
        write(
            &running.join("node_modules/left-pad/index.js"),
            "module.exports = 1\n",
        );
        write(&running.join("REVISION"), "0123456789\n");
        write(&running.join("settings.local"), "key=1\n");
        let report = scene.report(&reference);
        let path = format!("{SERVICE}/{}", self.patched);
        assert_eq!(
            real(&report),
            BTreeSet::from([format!("M {path}")]),
            "{report:#}"
        );
        assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
        let in_service = |path: &str| {
            let folder = format!("{SERVICE}/{from}");
            format!("{}/{path}", folder.trim_end_matches('/'))
        };
        assert_noise(
            &report,
            "generated",
            &in_service("__pycache__/app.cpython-311.pyc"),
        );
        assert_noise(&report, "generated", &in_service("REVISION"));
        assert_noise(
            &report,
            "dependency",
            &in_service("node_modules/left-pad/index.js"),
        );
        assert_noise(&report, "ignored", &in_service("settings.local"));
        assert_noise(&report, "attributes", &in_service("notes.txt"));
        self.expect_commit(&scene, &path);
        // Another release is another story: it differs in more than that.
        let other = scene.report(&format!("r{}", self.other));
        assert!(real(&other).len() > 1, "{other:#}");
    }
}

impl Package {
    /// Expects `which-ref` to name the release that runs, or releases that are the same in what was copied, and no
    /// file but the patched one.
    fn expect_commit(&self, scene: &Scene, patched: &str) {
        let tag = format!("r{}", self.runs);
        let found = scene.ask("which-ref", "main");
        assert_eq!(found["verdict"], "differs", "{found:#}");
        let answer = &found["answers"][0];
        let names = |list: &serde_json::Value| -> Vec<String> {
            let list = list.as_array().unwrap().iter();
            list.map(|row| row["repository"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(&answer["differs"]), [patched], "{found:#}");
        assert_eq!(answer["absent"], serde_json::json!([]), "{found:#}");
        assert_eq!(answer["missing"], serde_json::json!([]), "{found:#}");
        assert_eq!(answer["converted"], 1, "{found:#}");
        let refs: Vec<&str> = answer["refs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert!(
            refs.contains(&format!("refs/tags/{tag}").as_str()),
            "{found:#}"
        );
        for other in refs.iter().filter(|name| name.starts_with("refs/tags/")) {
            for (folder, _) in self.copied {
                let folder = format!("{SERVICE}/{folder}");
                let changed = scene.git(&["diff", "--name-only", other, &tag, "--", &folder]);
                let beside = |line: &&str| {
                    let left_out = ["/tests/", "/docs/"].iter().any(|part| line.contains(part));
                    *line != patched && !left_out
                };
                let changed: Vec<&str> = changed.lines().filter(beside).collect();
                assert!(changed.is_empty(), "{other}: {changed:?}");
            }
        }
    }
}

#[test]
fn a_node_package_with_a_hot_patch_differs_in_that_file_only() {
    EXPRESS.round_trip();
}

#[test]
fn a_python_package_with_a_hot_patch_differs_in_that_file_only() {
    FLASK.round_trip();
}

#[test]
fn the_static_files_of_a_go_module_with_a_hot_patch_differ_in_that_file_only() {
    STATSVIZ.round_trip();
}

/// What a build and somebody after it have done to a tree.
#[derive(Clone, Debug)]
struct Distortions {
    /// The service lies in a folder of the repository.
    nested: bool,
    /// `static` is copied elsewhere.
    static_elsewhere: bool,
    /// Tests, documents and recipes are left out, each or not.
    left_out: [bool; 4],
    /// Byte code, a dependency, an ignored file and build information appear.
    appears: [bool; 4],
    /// Line endings, `$Id$`, the execute bit.
    rewritten: [bool; 3],
    /// An archive's substitution, another encoding, an LFS object, the files of a submodule, a file that archives
    /// leave out.
    stored: [bool; 5],
    /// Which of the files that are stored in another form somebody changed as well.
    changed_form: Option<usize>,
    /// A file is copied under another name.
    renamed: bool,
    /// Files that somebody changed, by number.
    changed: BTreeSet<usize>,
    /// Files that somebody removed, by number.
    removed: BTreeSet<usize>,
    /// Files that somebody added.
    added: usize,
}

fn distortions() -> impl Strategy<Value = Distortions> {
    let files = CODE.len();
    (
        (any::<bool>(), any::<bool>(), any::<bool>(), 0_usize..3),
        (
            any::<[bool; 4]>(),
            any::<[bool; 4]>(),
            any::<[bool; 3]>(),
            any::<[bool; 5]>(),
            proptest::option::of(0..FORMS.len()),
        ),
        proptest::collection::btree_set(0..files, 0..4),
        proptest::collection::btree_set(0..files, 0..2),
    )
        .prop_map(|(flags, lists, changed, removed)| Distortions {
            nested: flags.0,
            static_elsewhere: flags.1,
            renamed: flags.2,
            added: flags.3,
            left_out: lists.0,
            appears: lists.1,
            rewritten: lists.2,
            stored: lists.3,
            changed_form: lists.4,
            removed: removed.difference(&changed).copied().collect(),
            changed,
        })
}

/// The files that are stored in another form than they run in.
const FORMS: [&str; 5] = [
    "notes.txt",
    "mark.txt",
    "version.txt",
    "words.txt",
    "model.bin",
];

/// What the LFS pointer of `model.bin` stands for.
const OBJECT: &[u8] = b"\0the object of a pointer\xff";

/// The files of the generated service.
const CODE: [&str; 16] = [
    "main.py",
    "settings.py",
    "wsgi.py",
    "lib/__init__.py",
    "lib/a.py",
    "lib/b.py",
    "lib/c.py",
    "lib/util/x.py",
    "lib/util/y.py",
    "lib/util/z.py",
    "static/site.css",
    "static/app.js",
    "static/extra.js",
    "static/print.css",
    "templates/index.html",
    "templates/error.html",
];

const LEFT_OUT: [&[&str]; 4] = [
    &["tests/test_a.py", "tests/data/x.json"],
    &["docs/index.rst", "README.md"],
    &["Dockerfile", "setup.cfg"],
    &[".github/workflows/ci.yml", ".gitignore", ".gitattributes"],
];

fn content(path: &str) -> String {
    let lines: Vec<String> = (0..12)
        .map(|line| format!("line {line} of {path}\n"))
        .collect();
    lines.concat()
}

/// Makes the repository and the running tree; returns the real differences that are expected.
fn distort(scene: &Scene, distortions: &Distortions) -> BTreeSet<String> {
    let prefix = if distortions.nested {
        "services/shop/"
    } else {
        ""
    };
    let service = scene.repository.path().join(prefix);
    let app = scene.app();
    for path in CODE.iter().chain(LEFT_OUT.iter().copied().flatten()) {
        write(&service.join(path), content(path));
    }
    write(&service.join(".gitignore"), "*.local\n");
    write(
        &service.join(".gitattributes"),
        "notes.txt text eol=crlf\nmark.txt ident\nversion.txt export-subst\nprivate.py export-ignore\n\
         words.txt text working-tree-encoding=UTF-16LE\nmodel.bin filter=lfs diff=lfs merge=lfs -text\n",
    );
    write_forms(&service);
    write(&service.join("notes.txt"), content("notes"));
    write(
        &service.join("mark.txt"),
        "x $Id$ y\nand a line of its own\n",
    );
    write(&service.join("run.sh"), content("run"));
    write(
        &service.join("config.production.json"),
        content("production"),
    );
    write(&service.join("lib/empty.py"), "");
    if distortions.nested {
        write(
            &scene.repository.path().join("services/cart/main.py"),
            content("cart"),
        );
        write(
            &scene.repository.path().join("services/cart/lib/a.py"),
            content("lib/a.py"),
        );
    }
    scene.git(&["add", "--all"]);
    let submodule = format!("160000,{},{prefix}parts", "5".repeat(40));
    scene.git(&["update-index", "--add", "--cacheinfo", &submodule]);
    scene.commit_index("all");
    copy(&service, &app);
    fs::remove_dir_all(app.join(".git")).ok();
    for (left_out, paths) in distortions.left_out.iter().zip(LEFT_OUT) {
        for path in paths.iter().filter(|_| *left_out) {
            fs::remove_file(app.join(path)).unwrap();
        }
    }
    let mut expected = BTreeSet::new();
    for number in &distortions.changed {
        let path = CODE[*number];
        let changed = content(path).replacen("line 5", "line five", 1);
        write(&app.join(path), changed);
        expected.insert(format!("M {prefix}{path}"));
    }
    for number in &distortions.removed {
        let path = CODE[*number];
        fs::remove_file(app.join(path)).unwrap();
        expected.insert(format!("D {prefix}{path}"));
    }
    for number in 0..distortions.added {
        let path = format!("lib/util/added{number}.py");
        write(
            &app.join(&path),
            format!("nothing like it {number}\n").repeat(30),
        );
        expected.insert(format!("A {prefix}{path}"));
    }
    build(&app, distortions);
    if let Some(number) = distortions.changed_form {
        let path = FORMS[number];
        change_form(&app.join(path));
        expected.insert(format!("M {prefix}{path}"));
    }
    expected
}

/// Files whose stored form is not the one that runs.
fn write_forms(service: &Path) {
    write(
        &service.join("version.txt"),
        "made of $Format:%H$ at $Format:%ct$\nand nothing else\n",
    );
    write(&service.join("private.py"), content("private"));
    write(&service.join("words.txt"), utf16(&content("words")));
    let digest = Sha256::digest(OBJECT);
    let digest = digest
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let size = OBJECT.len();
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n");
    write(&service.join("model.bin"), pointer);
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Changes a file in the form that it runs in.
fn change_form(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    // A letter in the middle of a line, in one byte or in the first of two.
    let at = bytes.iter().rposition(|byte| *byte == b'e').unwrap();
    bytes[at] = b'X';
    fs::write(path, bytes).unwrap();
}

/// What the build does: nothing of it is a difference.
fn build(app: &Path, distortions: &Distortions) {
    let appears = [
        ("lib/__pycache__/a.cpython-311.pyc", "byte code"),
        ("node_modules/x/index.js", "module.exports = 1\n"),
        ("secrets.local", "key\n"),
        ("build-info.json", "{}\n"),
    ];
    for (path, text) in appears
        .iter()
        .zip(distortions.appears)
        .filter_map(|(file, is)| is.then_some(file))
    {
        write(&app.join(path), text);
    }
    let [endings, ident, mode] = distortions.rewritten;
    if endings {
        write(
            &app.join("notes.txt"),
            content("notes").replace('\n', "\r\n"),
        );
    }
    if ident {
        write(
            &app.join("mark.txt"),
            "x $Id: 0123456789 $ y\nand a line of its own\n",
        );
    }
    if mode {
        fs::set_permissions(app.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let [subst, encoding, object, submodule, private] = distortions.stored;
    if subst {
        let text = format!(
            "made of {} at 1700000000\nand nothing else\n",
            "a".repeat(40)
        );
        write(&app.join("version.txt"), text);
    }
    if !encoding {
        // As git stores it; the copy of the working tree is in the other one.
        write(&app.join("words.txt"), content("words"));
    }
    if object {
        write(&app.join("model.bin"), OBJECT);
    }
    if submodule {
        write(&app.join("parts/part.py"), content("a part"));
    }
    if private {
        fs::remove_file(app.join("private.py")).unwrap();
    }
    if distortions.renamed {
        fs::rename(app.join("config.production.json"), app.join("config.json")).unwrap();
    }
    if distortions.static_elsewhere {
        fs::create_dir_all(app.join("public")).unwrap();
        fs::rename(app.join("static"), app.join("public/assets")).unwrap();
    }
}

#[test]
fn whatever_a_build_does_the_real_differences_are_found_and_no_others() {
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases each time: a failure can be run again.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let outcome = runner.run(&distortions(), |distortions| {
        let scene = Scene::new();
        let expected = distort(&scene, &distortions);
        let report = scene.report("main");
        prop_assert_eq!(real(&report), expected, "{:#}", report);
        prop_assert_eq!(&report["findings"], &serde_json::json!([]), "{:#}", report);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
