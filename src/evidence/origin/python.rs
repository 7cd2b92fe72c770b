//! What Python installers leave in `*.dist-info`: the digest of each file, and where a package came from.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bstr::{BStr, BString, ByteSlice as _};

use super::{Claim, Kind, Recorded, Says, revision, text};

/// Whether a file is one of these notes.
#[must_use]
pub fn is_note(path: &BStr) -> bool {
    path.ends_with(b".dist-info/RECORD") || path.ends_with(b".dist-info/direct_url.json")
}

/// The claims of a file by its name; none for other files.
#[must_use]
pub fn claims(path: &BStr, content: &[u8]) -> Vec<Claim> {
    let claim = |kind, says| Claim {
        kind,
        source: path.to_owned(),
        says,
    };
    if path.ends_with(b".dist-info/RECORD") {
        let files = record(content);
        return vec![claim(Kind::PythonRecord, Says::Files(files))];
    }
    if !path.ends_with(b".dist-info/direct_url.json") {
        return Vec::new();
    }
    let says = direct_url(content);
    let says = says.map(|says| claim(Kind::PythonDirectUrl, says));
    says.into_iter().collect()
}

/// The rows of a RECORD that have a SHA-256: compiled files and RECORD itself have none.
#[must_use]
pub fn record(content: &[u8]) -> Vec<Recorded> {
    content
        .lines()
        .filter_map(|line| {
            let (path, rest) = field(line)?;
            let mut rest = rest.split_str(",");
            let digest = rest.next()?.strip_prefix(b"sha256=")?;
            let sha256 = URL_SAFE_NO_PAD
                .decode(digest.trim_end_with(|c| c == '='))
                .ok()?;
            let size = rest
                .next()
                .and_then(|size| size.trim().to_str().ok()?.parse().ok());
            Some(Recorded {
                path,
                sha256: sha256.try_into().ok()?,
                size,
            })
        })
        .collect()
}

/// The first field of a line of comma-separated values, and the rest behind the comma.
fn field(line: &[u8]) -> Option<(BString, &[u8])> {
    let Some(quoted) = line.strip_prefix(b"\"") else {
        let (field, rest) = line.split_once_str(",")?;
        return Some((field.into(), rest));
    };
    let mut value = BString::default();
    let mut rest = quoted;
    loop {
        let end = rest.find_byte(b'"')?;
        value.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(b"\"") {
            // Two quotes stand for one.
            Some(after) => {
                value.push(b'"');
                rest = after;
            }
            None => return Some((value, rest.strip_prefix(b",")?)),
        }
    }
}

/// PEP 610.
fn direct_url(content: &[u8]) -> Option<Says> {
    let json: serde_json::Value = serde_json::from_slice(content).ok()?;
    let vcs = json.get("vcs_info")?;
    Some(Says::Commit {
        revision: revision(text(vcs, "commit_id")?)?,
        modified: None,
        repository: text(&json, "url").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn rows_of_a_record_keep_path_digest_and_size() {
        // Of `pip install itsdangerous`, and a path that needs quotes.
        let rows = record(b"itsdangerous/__init__.py,sha256=LjnNwtD8tMzJ3ucE1PqFMJGmsPlsVIMDtLQEDNxEePo,1427\n\"a,\"\"b\"\".py\",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\nx/__pycache__/y.pyc,,\npkg.dist-info/RECORD,,\nbad,sha256=!!,1\n");
        let paths: Vec<_> = rows.iter().map(|row| row.path.to_string()).collect();
        assert_eq!(paths, ["itsdangerous/__init__.py", "a,\"b\".py"]);
        assert_eq!(rows[1].size, Some(0));
        assert_eq!(rows[1].sha256, <[u8; 32]>::from(sha2::Sha256::digest(b"")));
    }

    #[test]
    fn a_package_from_a_repository_names_its_commit() {
        let json = br#"{"url": "https://git.example/lib.git", "vcs_info": {"commit_id": "90940f68bdc22959c67e74599936805de6a43c4d", "requested_revision": "main", "vcs": "git"}}"#;
        let found = claims("lib-1.dist-info/direct_url.json".into(), json);
        assert!(
            matches!(&found[0].says, Says::Commit { revision, repository: Some(url), .. } if revision.starts_with("90940f68") && url.ends_with("lib.git"))
        );
        for other in [
            &br#"{"url": "file:///src", "dir_info": {"editable": true}}"#[..],
            b"{",
            b"[]",
        ] {
            assert_eq!(claims("lib-1.dist-info/direct_url.json".into(), other), []);
        }
    }
}
