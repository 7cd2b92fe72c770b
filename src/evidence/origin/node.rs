//! What JavaScript tools leave: `gitHead` of a published package, and the sources in a source map.

use bstr::{BStr, BString};
use serde_json::Value;

use super::{Claim, EmbeddedSource, Kind, Says, revision, text};

/// The claims of a file by its name; none for other files.
#[must_use]
pub fn claims(path: &BStr, content: &[u8]) -> Vec<Claim> {
    let claim = |kind, says| Claim {
        kind,
        source: path.to_owned(),
        says,
    };
    if path.ends_with(b".map") {
        let sources = sources(content);
        if sources.is_empty() {
            return Vec::new();
        }
        return vec![claim(Kind::SourceMap, Says::Sources(sources))];
    }
    let is_manifest = path == "package.json" || path.ends_with(b"/package.json");
    let says = is_manifest.then(|| package(content)).flatten();
    let says = says.map(|says| claim(Kind::PackageJson, says));
    says.into_iter().collect()
}

fn package(content: &[u8]) -> Option<Says> {
    let json: Value = serde_json::from_slice(content).ok()?;
    let repository = json.get("repository").and_then(|repository| {
        let url = repository.as_str().or_else(|| text(repository, "url"));
        url.map(str::to_owned)
    });
    let revision = text(&json, "gitHead").and_then(revision)?;
    Some(Says::Commit {
        revision,
        modified: None,
        repository,
    })
}

/// The sources that a map carries. Its indexed form has maps within it.
fn sources(content: &[u8]) -> Vec<EmbeddedSource> {
    // A line in front keeps browsers from running a map as a program.
    let content = content.strip_prefix(b")]}'").unwrap_or(content);
    let Ok(json) = serde_json::from_slice::<Value>(content) else {
        return Vec::new();
    };
    let sections = json.get("sections").and_then(Value::as_array);
    let inner = sections
        .into_iter()
        .flatten()
        .filter_map(|section| section.get("map"));
    std::iter::once(&json)
        .chain(inner)
        .flat_map(one_map)
        .collect()
}

fn one_map(map: &Value) -> Vec<EmbeddedSource> {
    let list = |name: &str| map.get(name).and_then(Value::as_array);
    let (Some(paths), Some(contents)) = (list("sources"), list("sourcesContent")) else {
        return Vec::new();
    };
    let root = text(map, "sourceRoot").unwrap_or_default();
    paths
        .iter()
        .zip(contents)
        .filter_map(|(path, content)| {
            Some(EmbeddedSource {
                path: BString::from(format!("{root}{}", path.as_str()?)),
                content: content.as_str()?.into(),
            })
        })
        // Sources of dependencies are in other repositories.
        .filter(|source| !bstr::ByteSlice::contains_str(source.path.as_slice(), "node_modules/"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_package_names_its_commit_and_others_do_not() {
        let json = br#"{"name": "x", "gitHead": "90940f68bdc22959c67e74599936805de6a43c4d", "repository": {"url": "git+https://git.example/x.git"}}"#;
        let found = claims("app/package.json".into(), json);
        assert!(
            matches!(&found[0].says, Says::Commit { repository: Some(url), .. } if url == "git+https://git.example/x.git")
        );
        assert_eq!(claims("package.json".into(), br#"{"name": "x"}"#), []);
        assert_eq!(claims("other.json".into(), json), []);
    }

    #[test]
    fn the_sources_in_a_map_are_found_but_for_those_of_dependencies() {
        let map = br#"{"version": 3, "sources": ["webpack:///./src/a.ts", "webpack:///./node_modules/x/b.js", "c.ts"], "sourcesContent": ["let a\n", "b", null], "mappings": ""}"#;
        let found = claims("dist/app.js.map".into(), map);
        let Says::Sources(sources) = &found[0].says else {
            panic!("{found:?}")
        };
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].content, "let a\n");
        assert_eq!(claims("app.map".into(), br#"{"sources": ["a"]}"#), []);
    }
}
