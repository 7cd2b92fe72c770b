//! What counts as a URL, which transports are let through, and how credentials are kept out of messages.
//!
//! Pure: nothing here looks at a file or a network.

use super::error::GitError;

/// The transports that are let through, as git's `GIT_ALLOW_PROTOCOL` spells them.
///
/// `ext` and `fd` run programs or take over file descriptors; `ftp` and unknown helpers have no use here.
pub(super) const ALLOWED_PROTOCOLS: [&str; 5] = ["http", "https", "ssh", "git", "file"];

/// Whether git would take the text for a remote rather than for a path.
///
/// True for `scheme://…`, for the scp-like `host:path` and `user@host:path`, and for `helper::…`, which
/// [`fetch`](super::fetch()) then refuses by name. False for anything with a slash before its first colon.
/// A file whose name holds a colon is a path to git only as `./name`; a caller may look first.
///
/// ```
/// use kdbg::git::is_url;
/// assert!(is_url("https://example.invalid/team/shop.git"));
/// assert!(is_url("git@example.invalid:team/shop.git"));
/// assert!(!is_url("/srv/git/shop.git"));
/// assert!(!is_url("./odd:name"));
/// ```
#[must_use]
pub fn is_url(text: &str) -> bool {
    if let Some((scheme, _)) = text.split_once("://") {
        return is_scheme(scheme);
    }
    match text.split_once(':') {
        Some((host, _)) => !host.is_empty() && !host.contains('/'),
        None => false,
    }
}

/// The URL without its secrets: no password, no user of an http URL (tokens stand there), no query.
///
/// Works on any text: every URL in it is treated, the rest stays as it is.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find("://") {
        let (before, after) = rest.split_at(position);
        let after = after.get(3..).unwrap_or_default();
        let scheme = before
            .rsplit(|letter: char| !is_scheme_letter(letter))
            .next()
            .unwrap_or_default();
        let end = after
            .find(|letter: char| letter.is_whitespace() || "'\"`<>".contains(letter))
            .unwrap_or(after.len());
        let (url, following) = after.split_at(end);
        redacted.push_str(before);
        redacted.push_str("://");
        redacted.push_str(&redact_authority(scheme, url));
        rest = following;
    }
    redacted.push_str(rest);
    redacted
}

fn redact_authority(scheme: &str, url: &str) -> String {
    let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    // A password may hold a bare slash, which git does not take but a user types.
    let user_end = url
        .get(..authority_end)
        .and_then(|authority| authority.rfind('@'))
        .or_else(|| {
            let colon = url.get(..authority_end)?.find(':')?;
            let port = url.get(colon + 1..authority_end)?;
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
            (!is_port).then(|| url.rfind('@')).flatten()
        });
    let (user, rest) = match user_end {
        Some(position) => (
            url.get(..position),
            url.get(position + 1..).unwrap_or_default(),
        ),
        None => (None, url),
    };
    let user = user.map(|user| match (scheme, user.split_once(':')) {
        ("ssh" | "git" | "git+ssh" | "ssh+git", None) => format!("{user}@"),
        ("ssh" | "git" | "git+ssh" | "ssh+git", Some((name, _))) => format!("{name}:***@"),
        _ => "***@".to_owned(),
    });
    let rest = match rest.split_once('?') {
        Some((path, _)) => format!("{path}?***"),
        None => rest.to_owned(),
    };
    format!("{}{rest}", user.unwrap_or_default())
}

/// Checks a URL before it is given to git.
///
/// git's own checks would catch most of this; a URL that is meant to be taken for an option, for a helper
/// program or for several lines never gets that far.
pub(super) fn check(url: &str) -> Result<(), GitError> {
    let invalid = |reason| GitError::InvalidUrl {
        url: redact(&printable(url)),
        reason,
    };
    if url.chars().any(char::is_control) {
        return Err(invalid("it holds a control character"));
    }
    if url.starts_with('-') {
        return Err(invalid("it begins with a dash"));
    }
    if !is_url(url) {
        return Err(invalid("it has no scheme and no host"));
    }
    let refused = |transport: &str| GitError::TransportRefused {
        url: redact(url),
        transport: transport.to_owned(),
    };
    if let Some((helper, _)) = url.split_once("::")
        && helper.chars().all(is_scheme_letter)
    {
        return Err(refused(helper));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let (host, path) = url.split_once(':').unwrap_or((url, ""));
        let host = host.rsplit('@').next().unwrap_or(host);
        return if host.starts_with('-') || path.starts_with('-') {
            Err(invalid("its host or path begins with a dash"))
        } else {
            Ok(())
        };
    };
    if !is_allowed_scheme(scheme) {
        return Err(refused(scheme));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.starts_with('-') {
        return Err(invalid("its host begins with a dash"));
    }
    if host.is_empty() && !scheme.eq_ignore_ascii_case("file") {
        return Err(invalid("it has no host"));
    }
    Ok(())
}

/// The URL as the cache's key: two spellings that only differ in credentials share a clone.
pub(super) fn cache_key(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match (scheme.as_str(), authority.rsplit_once('@')) {
        ("http" | "https", Some((_, host))) => host.to_owned(),
        (_, Some((user, host))) => {
            format!("{}@{host}", user.split(':').next().unwrap_or(user))
        }
        (_, None) => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

fn is_allowed_scheme(scheme: &str) -> bool {
    // The two compound spellings are git's older names of ssh.
    ALLOWED_PROTOCOLS.contains(&scheme) || scheme == "git+ssh" || scheme == "ssh+git"
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_scheme_letter)
        // `ext::sh -c x://` and the like: a helper, which is a URL to git.
        || text.split_once("::").is_some_and(|(helper, _)| !helper.is_empty() && !helper.contains('/'))
}

fn is_scheme_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "+-.".contains(letter)
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_as_git_tells_them() {
        for url in [
            "http://example.invalid/a",
            "https://user@example.invalid:8443/a.git",
            "ssh://git@example.invalid/a",
            "git://example.invalid/a",
            "file:///srv/a",
            "git@example.invalid:a/b",
            "host:a",
            "ext::sh -c id",
            "ext::sh -c 'echo x://y'",
        ] {
            assert!(is_url(url), "{url}");
        }
        for path in [
            "", ".", "a", "/a:b", "./a:b", "../x", "a/b:c", ":x", "/a://b",
        ] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn secrets_never_show() {
        let cases = [
            (
                "https://user:pw@example.invalid/a",
                "https://***@example.invalid/a",
            ),
            (
                "https://ghp_token@example.invalid/a",
                "https://***@example.invalid/a",
            ),
            (
                "https://example.invalid/a?private_token=x",
                "https://example.invalid/a?***",
            ),
            ("ssh://git@example.invalid/a", "ssh://git@example.invalid/a"),
            (
                "ssh://git:pw@example.invalid:22/a",
                "ssh://git:***@example.invalid:22/a",
            ),
            (
                "https://user:p@ss@example.invalid/a",
                "https://***@example.invalid/a",
            ),
            (
                "https://user:p/w@example.invalid/a",
                "https://***@example.invalid/a",
            ),
            (
                "https://example.invalid:8443/@scope/a",
                "https://example.invalid:8443/@scope/a",
            ),
            (
                "fatal: unable to access 'https://u:pw@example.invalid/a/': no; http://t@b.invalid",
                "fatal: unable to access 'https://***@example.invalid/a/': no; http://***@b.invalid",
            ),
            ("git@example.invalid:a", "git@example.invalid:a"),
            ("nothing here", "nothing here"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn transports_that_run_programs_are_refused() {
        for url in [
            "ext::sh -c id",
            "fd::17",
            "ext::sh -c x://y",
            "ftp://example.invalid/a",
            "rsync://h/x",
        ] {
            assert!(
                matches!(check(url), Err(GitError::TransportRefused { .. })),
                "{url}"
            );
        }
        for url in [
            "--upload-pack=id",
            "ssh://-oProxyCommand=id/a",
            "ssh://git@-oProxyCommand=id/a",
            "-oProxyCommand=id:a",
            "git@-oProxyCommand=id:a",
            "https://a.invalid/\nb",
            "https:///a",
            "/a/path",
        ] {
            assert!(
                matches!(check(url), Err(GitError::InvalidUrl { .. })),
                "{url}"
            );
        }
        for url in [
            "https://example.invalid/a",
            "git@example.invalid:a",
            "file:///a",
            "ssh://h/a",
            "git@[::1]:a",
            "ssh://[::1]/a",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn one_clone_serves_every_credential() {
        let key = "https://example.invalid/a.git";
        assert_eq!(cache_key("https://u:p@example.invalid/a.git"), key);
        assert_eq!(cache_key("HTTPS://example.invalid/a.git/"), key);
        assert_ne!(cache_key("https://example.invalid/b.git"), key);
        assert_eq!(cache_key("git@example.invalid:a"), "git@example.invalid:a");
        assert_eq!(cache_key("ssh://git:x@h/a"), "ssh://git@h/a");
    }
}
