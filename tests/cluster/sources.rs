//! Which commit runs, what differs from a ref, and what differs between two pods: on images of five languages.
//!
//! The repository of each test is a monorepo made by git from the sources of the images, with older and newer
//! versions of them; the image has `services/NAME` of one commit at `/app`, as a `COPY` of its Dockerfile would make
//! it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Ran, Test, answering, check, container, merged, pod, run};

/// The sources of the images, with the folder of the repository that they are in.
const SOURCES: [(&str, &str); 7] = [
    (
        "python/server.py",
        include_str!("../images/python/server.py"),
    ),
    ("node/server.js", include_str!("../images/node/server.js")),
    ("php/index.php", include_str!("../images/php/index.php")),
    (
        "php/deploy/php-fpm.conf",
        include_str!("../images/php/php-fpm.conf"),
    ),
    ("jvm/Server.java", include_str!("../images/jvm/Server.java")),
    ("go/main.go", include_str!("../images/go/main.go")),
    ("go/go.mod", include_str!("../images/go/go.mod")),
];

/// What each image has of its source: a phrase of its first comment, which other versions have in other words.
const PHRASE: &str = "what a test wants to know about this process";

/// What `which-ref` says where there is no source.
const ONLY_COMPILED: &str =
    "only compiled code runs, so nothing but what it says of itself tells its commit";

/// A repository of services, and the commit that the images are made of.
struct Monorepo {
    folder: PathBuf,
    /// Seven digits of the commit that runs.
    running: String,
}

/// Where the commit is that the images are made of.
#[derive(Clone, Copy)]
enum Branch {
    /// On `main`, which has gone on since, with a tag.
    Main,
    /// The head of a pull request that is not merged.
    Pull,
}

impl Monorepo {
    /// Two older commits, one newer, one on a branch, and the one that runs.
    fn new(test: &Test, branch: Branch) -> Result<Self, Failure> {
        let folder = test.folder.path().join("repository");
        std::fs::create_dir_all(&folder).map_err(Failure::of("make a repository"))?;
        let mut monorepo = Self {
            folder,
            running: String::new(),
        };
        monorepo.git(&["init", "--quiet", "--initial-branch=main"])?;
        for name in ["python", "node", "php", "jvm", "go"] {
            monorepo.write(&format!("{name}/Dockerfile"), "FROM scratch\nCOPY . /app\n")?;
            monorepo.write(&format!("{name}/README.md"), &format!("# {name}\n"))?;
            monorepo.write(&format!("{name}/tests/test_{name}"), "it works\n")?;
        }
        monorepo.commit("first", "what the first version says")?;
        monorepo.commit("second", "what the second version says")?;
        if let Branch::Pull = branch {
            monorepo.git(&["switch", "--quiet", "--create", "work"])?;
        }
        monorepo.commit("running", PHRASE)?;
        monorepo.running = monorepo.git(&["rev-parse", "--short=7", "HEAD"])?;
        match branch {
            Branch::Main => monorepo.git(&["tag", "v3"])?,
            Branch::Pull => monorepo.git(&["update-ref", "refs/pull/1/head", "HEAD"])?,
        };
        monorepo.git(&["switch", "--quiet", "--force-create", "main", "HEAD"])?;
        if let Branch::Pull = branch {
            monorepo.git(&["branch", "--quiet", "--delete", "--force", "work"])?;
            monorepo.git(&["reset", "--quiet", "--hard", "HEAD~1"])?;
        }
        monorepo.commit("newer", "what the newest version says")?;
        monorepo.git(&["switch", "--quiet", "--create", "side", "HEAD~1"])?;
        monorepo.commit("side", "what another branch says")?;
        monorepo.git(&["switch", "--quiet", "main"])?;
        Ok(monorepo)
    }

    /// Commits all sources with this phrase in them.
    fn commit(&self, message: &str, phrase: &str) -> Result<(), Failure> {
        for (path, source) in SOURCES {
            let source = match path {
                "go/go.mod" => format!("{source}\n// {phrase}\n"),
                "php/deploy/php-fpm.conf" => format!("; {phrase}\n{source}"),
                _ => source.replace(PHRASE, phrase),
            };
            self.write(path, &source)?;
        }
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message])
            .map(drop)
    }

    fn write(&self, path: &str, content: &str) -> Result<(), Failure> {
        let path = self.folder.join("services").join(path);
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(Failure::of("make a repository"))?;
        std::fs::write(path, content).map_err(Failure::of("make a repository"))
    }

    /// Runs git and returns what it printed.
    fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = Command::new("git")
            .current_dir(&self.folder)
            .args(["-c", "user.name=t", "-c", "user.email=t@invalid"])
            .args(arguments)
            .output()
            .map_err(Failure::of("run git"))?;
        check(output.status.success(), || {
            format!(
                "git {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Asks `which-ref` of a pod.
    async fn which_ref(&self, test: &Test, pod: &str) -> Result<Ran, Failure> {
        self.ask(test, &["which-ref", pod]).await
    }

    /// Asks `diff-src` of a pod.
    async fn diff_src(&self, test: &Test, pod: &str, arguments: &[&str]) -> Result<Ran, Failure> {
        self.ask(test, &[&["diff-src", pod][..], arguments].concat())
            .await
    }

    /// Runs kdbg with this repository and a cache that goes with the test.
    async fn ask(&self, test: &Test, arguments: &[&str]) -> Result<Ran, Failure> {
        let mut command = test.kdbg_command(arguments);
        command
            .arg("--repo")
            .arg(&self.folder)
            .env("XDG_CACHE_HOME", test.folder.path().join("cache"));
        test.run_to_end(command).await
    }
}

/// Starts a pod of an image, ready when it answers.
async fn start(test: &Test, name: &str, image: &str, more: Value) -> Result<(), Failure> {
    // FastCGI is not HTTP: PHP-FPM is ready when it has started
    let base = if image == "php:user" {
        json!({})
    } else {
        answering(8080, "/")
    };
    let app = container("app", image, merged(base, more));
    test.start(pod(name, &[app], json!({}))).await.map(drop)
}

/// Fails unless kdbg printed exactly this on its standard output.
fn printed(ran: &Ran, wanted: &str) -> Result<(), Failure> {
    check(ran.stdout == wanted, || {
        format!("expected {wanted:?}: {ran}")
    })
}

/// Fails unless kdbg printed this somewhere on its standard output.
fn tells(ran: &Ran, wanted: &str) -> Result<(), Failure> {
    check(ran.stdout.contains(wanted), || {
        format!("expected {wanted:?}: {ran}")
    })
}

/// All rows of noise as `CLASS PATH`, the classes sorted.
fn noise(report: &Value) -> Vec<String> {
    let classes = report["noise"].as_object().into_iter().flatten();
    let rows = classes.flat_map(|(class, rows)| {
        let rows = rows.as_array().into_iter().flatten();
        rows.map(move |row| format!("{class} {}", row["path"].as_str().unwrap_or_default()))
    });
    rows.collect()
}

/// An interpreted service: its commit is named on `main` and on a pull request, and the file that differs from a ref is
/// the only difference.
async fn source_that_runs_as_it_is(name: &str, file: &str) {
    run(&format!("src-{name}"), Level::Restricted, async |test| {
        start(test, name, &format!("{name}:user"), json!({})).await?;
        let monorepo = Monorepo::new(test, Branch::Main)?;
        let running = &monorepo.running;
        let ran = monorepo.which_ref(test, name).await?.ended_with(0)?;
        tells(&ran, &format!("runs {running} (v3, on main)\n"))?;
        tells(
            &ran,
            &format!("`/app` is `services/{name}` of the repository"),
        )?;
        tells(&ran, "0 commits ahead of main, 1 behind")?;

        // as it is in the ref: nothing but what the build leaves out
        let ran = monorepo
            .diff_src(test, name, &["--ref", "v3", "-o", "json"])
            .await?
            .ended_with(0)?;
        let report = ran.json()?;
        let mut left_out = vec![
            format!("left-out services/{name}/Dockerfile"),
            format!("left-out services/{name}/README.md"),
            format!("left-out services/{name}/tests/test_{name}"),
        ];
        if name == "php" {
            left_out.insert(2, "left-out services/php/deploy/php-fpm.conf".to_owned());
        }
        check(
            report["files"] == json!([]) && noise(&report) == left_out,
            || format!("{ran}"),
        )?;
        check(report["mappings"][0]["running"] == "/app", || {
            format!("{ran}")
        })?;

        // the only file of the service has changed since: nothing is equal, and the history tells the folders
        let ran = monorepo
            .diff_src(test, name, &["--ref", "main", "--name-status"])
            .await?
            .ended_with(1)?;
        printed(&ran, &format!("M\tservices/{name}/{file}\n"))?;
        let ran = ran.said(&format!("note: runs {running} (v3, on main)"))?;
        ran.said(&format!(
            "comparing `/app`, the working directory, with `services/{name}` of `main`"
        ))?;
        let ran = monorepo
            .diff_src(test, name, &["--ref", "main", "--numstat"])
            .await?
            .ended_with(1)?;
        printed(&ran, &format!("1\t1\tservices/{name}/{file}\n"))?;

        std::fs::remove_dir_all(&monorepo.folder).map_err(Failure::of("remove a repository"))?;
        let monorepo = Monorepo::new(test, Branch::Pull)?;
        let ran = monorepo.which_ref(test, name).await?.ended_with(1)?;
        tells(
            &ran,
            &format!("runs {} (refs/pull/1/head, not on main)", monorepo.running),
        )?;
        tells(&ran, "1 commit ahead of main, 1 behind")
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: compares the code of a pod"]
async fn the_commit_and_the_changed_file_of_a_python_service_are_named() {
    source_that_runs_as_it_is("python", "server.py").await;
}

#[tokio::test]
#[ignore = "needs a cluster: compares the code of a pod"]
async fn the_commit_and_the_changed_file_of_a_node_service_are_named() {
    source_that_runs_as_it_is("node", "server.js").await;
}

#[tokio::test]
#[ignore = "needs a cluster: compares the code of a pod"]
async fn the_commit_and_the_changed_file_of_a_php_service_are_named() {
    source_that_runs_as_it_is("php", "index.php").await;
}

#[tokio::test]
#[ignore = "needs a cluster: compares the code of a pod"]
async fn of_a_jvm_service_only_its_classes_are_compared() {
    run("src-jvm", Level::Restricted, async |test| {
        start(test, "jvm", "jvm:user", json!({})).await?;
        let monorepo = Monorepo::new(test, Branch::Main)?;
        // a class has no commit in it, and none is made up
        let ran = monorepo.which_ref(test, "jvm").await?.ended_with(1)?;
        tells(&ran, "no commit fits: 1 running file, ")?;
        tells(&ran, ONLY_COMPILED)?;
        monorepo
            .diff_src(test, "jvm", &["--ref", "v3"])
            .await?
            .ended_with(3)?
            .said("no running file is the same as any at `v3`")?;
        let map = ["--map", "/app=services/jvm"];
        for reference in ["v3", "main"] {
            let ran = monorepo.diff_src(test, "jvm", &[&["--ref", reference][..], &map].concat()).await?;
            let ran = ran.ended_with(0)?;
            printed(&ran, "")?;
            ran.said("revision only for 1 `.java` files: none of them runs as it is")?
                .said("1 sources have a class of their name, 0 have none, and 0 classes of their packages have no source")?;
        }
        // a source that is not in the image is one without a class
        monorepo.write("jvm/Added.java", "final class Added {}\n")?;
        monorepo.commit("added", "what a later version says")?;
        monorepo
            .diff_src(test, "jvm", &[&["--ref", "main"][..], &map].concat())
            .await?
            .said("no class runs of `services/jvm/Added.java`")
            .map(drop)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: compares the code of a pod"]
async fn of_a_go_program_only_what_it_says_of_itself_is_told() {
    run("src-go", Level::Restricted, async |test| {
        start(test, "go", "go:user", json!({})).await?;
        let monorepo = Monorepo::new(test, Branch::Main)?;
        let ran = monorepo.which_ref(test, "go").await?.ended_with(1)?;
        // the program alone: what the kubelet mounts beside it is nobody's code
        tells(&ran, "no commit fits: 1 running file, ")?;
        tells(&ran, ONLY_COMPILED)?;
        tells(
            &ran,
            "Go build info `/server`: kdbg.local/server (devel): not checked, no tag is named for version (devel)",
        )?;
        let map = ["--ref", "main", "--map", "/=services/go"];
        let ran = monorepo.diff_src(test, "go", &map).await?.ended_with(0)?;
        printed(&ran, "")?;
        ran.said("revision only for 1 `.go` files: none of them runs as it is")?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: compares two pods"]
async fn two_pods_of_an_image_are_the_same_but_for_a_variable_in_every_language() {
    run("src-same", Level::Restricted, async |test| {
        for name in ["python", "node", "php", "jvm", "go"] {
            let image = format!("{name}:user");
            let (second, third) = (format!("{name}-2"), format!("{name}-3"));
            let greeting = json!({"env": [{"name": "GREETING", "value": "hello"}]});
            let pods = [(name, json!({})), (&second, json!({})), (&third, greeting)];
            let starts = pods.map(|(pod, more)| start(test, pod, &image, more));
            futures::future::try_join_all(starts).await?;
            let ran = test.kdbg(&["diff-pod", name, &second]).await?;
            tells(&ran, "image: the same, ")?;
            tells(&ran, "executable: the same, ")?;
            tells(&ran, "files: the same, 1 file, digest ")?;
            if name == "php" {
                // PHP-FPM writes its title over its environment, so what it had is not known
                tells(&ran, "environment: the same in what is left of it\n")?;
                ran.ended_with(3)?
                    .said("warning: php: the process has overwritten its environment")?;
                continue;
            }
            tells(&ran, "environment: the same\n")?;
            ran.ended_with(0)?;
            let ran = test.kdbg(&["diff-pod", name, &third]).await?;
            let ran = ran.ended_with(1)?;
            let environment = "environment: 1 variable set differently\n  + GREETING=hello\n";
            tells(&ran, environment)?;
        }
        Ok(())
    })
    .await;
}

/// Volumes over parts of `/app`, of each kind.
fn mounted(name: &str, more: Value) -> Value {
    let mounts = json!({"volumeMounts": [
        {"name": "settings", "mountPath": "/app/config"},
        {"name": "keys", "mountPath": "/app/keys"},
        {"name": "scratch", "mountPath": "/app/scratch"},
        {"name": "settings", "mountPath": "/app/live.json", "subPath": "live.json"},
    ]});
    let app = container(
        "app",
        "python:user",
        merged(merged(answering(8080, "/"), mounts), more),
    );
    let volumes = json!({"volumes": [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "scratch", "emptyDir": {}},
    ]});
    pod(name, &[app], volumes)
}

async fn objects_of_mounts(test: &Test) -> Result<(), Failure> {
    let settings = json!({"metadata": {"name": "settings"}, "data": {"live.json": "{}\n"}});
    test.create_object::<ConfigMap>(settings).await?;
    let keys = json!({"metadata": {"name": "keys"}, "stringData": {"key.pem": "a key\n"}});
    test.create_object::<Secret>(keys).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: volumes of a kubelet"]
async fn what_volumes_put_over_the_code_is_mounted_noise_with_the_names_of_the_volumes() {
    run("src-mounts", Level::Restricted, async |test| {
        objects_of_mounts(test).await?;
        test.start(mounted("app", json!({}))).await?;
        let monorepo = Monorepo::new(test, Branch::Main)?;
        let ran = monorepo
            .diff_src(test, "app", &["--ref", "v3", "--noise=mounted"])
            .await?
            .ended_with(0)?;
        // the folder of the time, which the kubelet makes, has no name that could be expected
        let rows = |name: &str| ran.stdout.lines().filter(|row| row.contains(name)).count();
        for (because, count) in [
            ("configmap `settings` is mounted at `/app/config`", 3),
            ("secret `keys` is mounted at `/app/keys`", 3),
            ("configmap `settings` is mounted at `/app/live.json`", 1),
        ] {
            check(rows(because) == count, || {
                format!("not {count} files: {because}: {ran}")
            })?;
        }
        check(ran.stdout.lines().count() == 7, || {
            format!("more is mounted: {ran}")
        })?;
        for link in ["config/..data", "keys/..data"] {
            tells(&ran, &format!("mounted\tA\tservices/python/{link}\t"))?;
        }
        test.python("app", "open('/app/scratch/cache.bin', 'w').write('1')")
            .await?;
        let ran = monorepo
            .diff_src(test, "app", &["--ref", "v3", "--noise=mounted"])
            .await?
            .ended_with(0)?;
        tells(
            &ran,
            "services/python/scratch/cache.bin\tempty-dir `scratch` is mounted at `/app/scratch`\n",
        )?;
        // what is mounted takes no part in the search for the commit
        let ran = monorepo.which_ref(test, "app").await?.ended_with(0)?;
        tells(&ran, &format!("runs {} (v3, on main)\n", monorepo.running))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: volumes of a kubelet"]
async fn two_pods_with_the_same_volumes_are_the_same_until_one_is_changed() {
    run("src-two", Level::Restricted, async |test| {
        objects_of_mounts(test).await?;
        // the name of the first is a part of its paths, and that of the second is not
        test.start(mounted("app", json!({}))).await?;
        let changed = json!({"env": [{"name": "GREETING", "value": "hello"}]});
        test.start(mounted("app-2", json!({}))).await?;
        test.start(mounted("other", changed)).await?;
        let ran = test
            .kdbg(&["diff-pod", "app", "app-2"])
            .await?
            .ended_with(0)?;
        tells(&ran, "files: the same, ")?;
        tells(&ran, "environment: the same\n")?;

        let ran = test
            .kdbg(&["diff-pod", "app", "other"])
            .await?
            .ended_with(1)?;
        tells(&ran, "files: the same, ")?;
        tells(
            &ran,
            "environment: 1 variable set differently\n  + GREETING=hello\n",
        )?;

        test.python("app-2", "open('/app/scratch/hot.py', 'w').write('x = 1')")
            .await?;
        let ran = test
            .kdbg(&["diff-pod", "app", "app-2"])
            .await?
            .ended_with(1)?;
        tells(&ran, "  + /app/scratch/hot.py\n")?;
        let ran = test
            .kdbg(&["diff-pod", "app", "app-2", "-o", "json"])
            .await?
            .ended_with(1)?;
        let report = ran.json()?;
        check(
            report["same_image"] == true && report["same_executable"] == true,
            || format!("{ran}"),
        )
    })
    .await;
}

/// A pod whose code lies on a volume that it can write to: there, a pod can be patched while it runs.
async fn patchable(test: &Test, name: &str) -> Result<(), Failure> {
    let code = "import os, shutil
shutil.copy('/app/server.py', '/srv/app/server.py')
open('/srv/app/prices.py', 'w').write('# prices\\n' * 20)
os.chdir('/srv/app')
os.execv('/usr/bin/python3.11', ['python3.11', '/srv/app/server.py'])";
    let more = merged(
        answering(8080, "/"),
        json!({
            "command": ["/usr/bin/python3.11", "-c", code],
            "volumeMounts": [{"name": "code", "mountPath": "/srv/app"}],
        }),
    );
    let app = container("app", "python:user", more);
    let volumes = json!({"volumes": [{"name": "code", "emptyDir": {}}]});
    test.start(pod(name, &[app], volumes)).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: changes the code of a pod"]
async fn a_file_that_was_changed_after_the_start_is_a_finding_also_when_it_equals_the_ref() {
    run("src-late", Level::Restricted, async |test| {
        patchable(test, "app").await?;
        let monorepo = Monorepo::new(test, Branch::Main)?;
        // beside the file that is patched, one that is not: it tells the folder
        monorepo.write("python/prices.py", &"# prices\n".repeat(20))?;
        monorepo.commit("prices", PHRASE)?;
        let arguments = ["--ref", "main", "--name-status"];
        // the code lies on a volume, and that is told; it is no difference
        let ran = monorepo
            .diff_src(test, "app", &arguments)
            .await?
            .ended_with(0)?;
        let ran = ran
            .said("`/srv/app` is not from the image: empty-dir `code` is mounted at `/srv/app`")?;
        printed(&ran, "")?;
        // files that a starting program writes are not late: wait until the start is over
        tokio::time::sleep(Duration::from_secs(2)).await;
        test.python("app", "import os; os.utime('/srv/app/server.py')")
            .await?;
        let ran = monorepo
            .diff_src(test, "app", &arguments)
            .await?
            .ended_with(1)?;
        printed(&ran, "")?;
        ran.said("warning: `/srv/app/server.py` was changed ")?
            .said("so what runs may be older; it is the same as the ref now")?;

        test.python(
            "app",
            "open('/srv/app/server.py', 'a').write('# patched\\n')",
        )
        .await?;
        test.python("app", "open('/srv/app/hot.py', 'w').write('x = 1\\n')")
            .await?;
        let ran = monorepo
            .diff_src(test, "app", &arguments)
            .await?
            .ended_with(1)?;
        printed(
            &ran,
            "A\tservices/python/hot.py\nM\tservices/python/server.py\n",
        )?;
        let ran = ran.said("warning: `/srv/app/server.py` was changed ")?;
        ran.said("`/srv/app/hot.py`")?;
        Ok(())
    })
    .await;
}
