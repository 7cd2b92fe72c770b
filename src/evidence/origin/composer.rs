//! What Composer leaves in `vendor/composer`: where each package came from, and the application itself.

use bstr::{BStr, ByteSlice as _};
use serde_json::Value;

use super::{Claim, Kind, Says, revision, text};

/// The claims of a file by its name; none for other files.
#[must_use]
pub fn claims(path: &BStr, content: &[u8]) -> Vec<Claim> {
    let says = if path.ends_with(b"composer/installed.php") {
        root(content).into_iter().collect()
    } else if path.ends_with(b"composer/installed.json") {
        packages(content)
    } else {
        Vec::new()
    };
    says.into_iter()
        .map(|says| Claim {
            kind: Kind::Composer,
            source: path.to_owned(),
            says,
        })
        .collect()
}

/// The reference of the root package, from the one place of that generated file where it stands.
fn root(content: &[u8]) -> Option<Says> {
    let (_, root) = content.split_once_str("'root' =>")?;
    let (root, _) = root.split_once_str("'versions' =>")?;
    let (_, reference) = root.split_once_str("'reference' => '")?;
    let (reference, _) = reference.split_once_str("'")?;
    Some(Says::Commit {
        revision: revision(reference.to_str().ok()?)?,
        modified: None,
        repository: None,
    })
}

fn packages(content: &[u8]) -> Vec<Says> {
    let Ok(json) = serde_json::from_slice::<Value>(content) else {
        return Vec::new();
    };
    // Composer 1 wrote the list without the object round it.
    let list = json.get("packages").unwrap_or(&json).as_array();
    list.into_iter()
        .flatten()
        .filter_map(|package| {
            Some(Says::Version {
                name: text(package, "name")?.to_owned(),
                version: text(package, "version")?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_and_its_packages_are_told_apart() {
        let php = b"<?php return array(\n    'root' => array(\n        'name' => 'shop/app',\n        'reference' => '90940f68bdc22959c67e74599936805de6a43c4d',\n    ),\n    'versions' => array(\n        'a/b' => array('reference' => '1111111111'),\n";
        let found = claims("vendor/composer/installed.php".into(), php);
        assert!(
            matches!(&found[0].says, Says::Commit { revision, .. } if revision.starts_with("90940f"))
        );
        let none = b"<?php return array('root' => array('reference' => NULL), 'versions' => array('a' => array('reference' => '1111111111')));";
        assert_eq!(claims("vendor/composer/installed.php".into(), none), []);
        let json = br#"{"packages": [{"name": "a/b", "version": "1.0"}]}"#;
        assert_eq!(
            claims("vendor/composer/installed.json".into(), json).len(),
            1
        );
        assert_eq!(
            claims(
                "vendor/composer/installed.json".into(),
                br#"[{"name": "a/b", "version": "1"}]"#
            )
            .len(),
            1
        );
    }
}
