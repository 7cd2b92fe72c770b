//! Published packages as histories: each release a commit, one of them what runs, distorted as builds do.

use kdbg::object::HashKind;

use super::{Story, Tree, process, text};
use crate::support::{
    fixtures::{Registry, release},
    running::assert_code,
};

/// The files of each release that can be had; too few are a reason to skip.
fn releases(registry: Registry, name: &str, versions: &[&str]) -> Option<Vec<Tree>> {
    let mut found = Vec::new();
    for version in versions {
        match release(registry, name, version) {
            Ok(files) => found.push(
                files
                    .into_iter()
                    .filter_map(|(path, blob)| {
                        let path = String::from_utf8(path).ok()?;
                        // What an installer adds is not in the repository.
                        let is_added = path.contains(".dist-info/") || path.starts_with("bin/");
                        let content = String::from_utf8(blob.content.clone()).ok()?;
                        (!is_added).then_some((path, content))
                    })
                    .collect(),
            ),
            Err(reason) => {
                eprintln!("skipped: {name} {version}: {reason}");
                return None;
            }
        }
    }
    Some(found)
}

/// Every release is found from a distorted copy of it, with the file that was patched and no other.
fn round_trip(releases: &[Tree], patched: &str, is_left_out: impl Fn(&str) -> bool) {
    let mut story = Story::new(HashKind::Sha1);
    for (number, files) in releases.iter().enumerate() {
        let files = files
            .iter()
            .map(|(path, content)| (format!("services/web/{path}"), content.clone()));
        let mut tree: Tree = files.collect();
        tree.insert("README.md".to_owned(), format!("release {number}\n"));
        tree.insert(
            "services/other/main.py".to_owned(),
            format!("other {number}\n"),
        );
        let parents: Vec<usize> = if number == 0 { vec![] } else { vec![number] };
        story.commit("refs/heads/main", &parents, &tree);
    }
    story.tell();
    for (number, files) in releases.iter().enumerate() {
        let mut image: Tree = files
            .iter()
            .filter(|(path, _)| !is_left_out(path))
            .map(|(path, content)| (format!("src/{path}"), content.clone()))
            .collect();
        image.insert(
            "src/__pycache__/x.pyc".to_owned(),
            format!("compiled {number}"),
        );
        image.insert(
            "node_modules/left-pad/index.js".to_owned(),
            "pad".to_owned(),
        );
        let (running, folder) = process(&image);
        let json = story.json(&running, &[]);
        let id = story.id(number + 1);
        assert_eq!(json["verdict"], "fits", "{json:#}");
        assert_eq!(json["answers"][0]["newest"]["id"], id);
        assert_eq!(json["answers"][0]["oldest"]["id"], id);
        // One file is patched in place: the same commit, and that file.
        std::fs::write(
            folder.path().join("src").join(patched),
            "patched at night\n",
        )
        .unwrap();
        let json = story.json(&running, &[]);
        assert_eq!(json["verdict"], "differs", "{json:#}");
        let answer = &json["answers"][0];
        assert_eq!(answer["newest"]["id"], id);
        let differs = answer["differs"].as_array().unwrap();
        assert_eq!(differs.len(), 1, "{json:#}");
        assert_eq!(differs[0]["repository"], format!("services/web/{patched}"));
        assert_eq!(
            (
                answer["absent"].as_array().unwrap().len(),
                answer["missing"].as_array().unwrap().len()
            ),
            (0, 0),
            "{json:#}"
        );
        let output = story.ask(&running, &[]);
        assert_code(&output, 1);
        assert!(
            text(&output).starts_with(&format!("nearest {}", &id[..7])),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn every_release_of_express_is_found_and_the_patched_file_is_the_only_difference() {
    let versions = [
        "4.16.0", "4.16.1", "4.16.2", "4.16.3", "4.16.4", "4.17.0", "4.17.1", "4.18.0", "4.18.1",
        "4.18.2", "4.19.2",
    ];
    if let Some(releases) = releases(Registry::Npm, "express", &versions) {
        round_trip(&releases, "lib/utils.js", |path| {
            ["History.md", "Readme.md"].contains(&path)
        });
    }
}

#[test]
fn every_release_of_flask_is_found_and_the_patched_file_is_the_only_difference() {
    let versions = [
        "2.0.0", "2.0.1", "2.0.2", "2.0.3", "2.1.0", "2.1.1", "2.1.2", "2.1.3", "2.2.0", "2.2.1",
        "2.2.5", "2.3.3",
    ];
    if let Some(releases) = releases(Registry::Pip, "Flask", &versions) {
        round_trip(&releases, "flask/helpers.py", |_| false);
    }
}
