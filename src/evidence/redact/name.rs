//! What a name says about its value: whether it names a secret, or only something about one.

/// Words of a name that make its value a secret, wherever they stand.
const SECRET_WORDS: [&str; 20] = [
    "ACCESSKEY",
    "APIKEY",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "COOKIES",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "DSN",
    "JWT",
    "KEY",
    "KEYS",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "SECRET",
    "SECRETS",
    "TOKEN",
];

/// Words that end a longer word without a break, as in `PGPASSWORD`.
const SECRET_ENDINGS: [&str; 12] = [
    "ACCESSKEY",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PASSWORDS",
    "PRIVATEKEY",
    "SECRET",
    "SECRETKEY",
    "TOKEN",
];

/// `X_KEY` with one of these before it is no secret.
const PUBLIC_KEYS: [&str; 7] = [
    "FOREIGN",
    "PARTITION",
    "PUB",
    "PUBLIC",
    "ROUTING",
    "SHARD",
    "SORT",
];

/// A password is not `true`, but people do write `AUTH=true`.
const NEVER_A_SWITCH: [&str; 5] = ["PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "SECRET"];

/// Last words that say that the value is a place, a number, an address or a word about the secret. The
/// value must look like one, too: whoever puts the secret itself into `PASSWORD_FILE` is protected.
const PLACES: [&str; 12] = [
    "DIR",
    "DIRECTORY",
    "FILE",
    "FILENAME",
    "FILES",
    "FOLDER",
    "HOME",
    "LOCATION",
    "PATH",
    "SOCK",
    "SOCKET",
    "STORE",
];
const NUMBERS: [&str; 24] = [
    "AGE",
    "BITS",
    "COUNT",
    "DAYS",
    "DURATION",
    "EXPIRATION",
    "EXPIRES",
    "EXPIRY",
    "HOURS",
    "INTERVAL",
    "ITERATIONS",
    "LENGTH",
    "LIFETIME",
    "LIMIT",
    "MAX",
    "MIN",
    "MINUTES",
    "PORT",
    "ROUNDS",
    "SECONDS",
    "SIZE",
    "TIMEOUT",
    "TTL",
    "VERSION",
];
const ADDRESSES: [&str; 9] = [
    "AUDIENCE", "DOMAIN", "ENDPOINT", "HOST", "HOSTNAME", "ISSUER", "ORIGIN", "URI", "URL",
];
const WORDS: [&str; 18] = [
    "ALGORITHM",
    "ALIAS",
    "BACKEND",
    "CLASS",
    "DESERIALIZER",
    "FORMAT",
    "HEADER",
    "METHOD",
    "MODE",
    "NAME",
    "NAMESPACE",
    "POLICY",
    "PREFIX",
    "PROVIDER",
    "SAMESITE",
    "SERIALIZER",
    "TYPE",
    "USER",
];

/// No path is longer (`PATH_MAX`), and no address worth showing.
const PATH_LIMIT: usize = 4096;

/// Whether this name makes this value a secret.
pub(super) fn hides(name: &[u8], value: &[u8]) -> bool {
    let words = words(name);
    let Some(last) = words.last() else {
        return false;
    };
    if !(0..words.len()).any(|position| is_secret(&words, position, value)) {
        return false;
    }
    let last_is = |list: &[&str]| list.contains(&last.as_str());
    let about = (last_is(&PLACES) && is_place(value))
        || (last_is(&NUMBERS) && is_number(value))
        || (last_is(&ADDRESSES) && is_address(value))
        || (last_is(&WORDS) && is_word(value))
        || (is_switch(value) && !NEVER_A_SWITCH.iter().any(|ending| last.ends_with(ending)))
        || (matches!(last.as_str(), "TOKENS" | "KEYS") && is_number(value))
        || (words.ends_with(&["GPG".to_owned(), "KEY".to_owned()]) && is_fingerprint(value));
    !about
}

/// Whether a name makes any value a secret.
pub(super) fn may_hide(name: &[u8]) -> bool {
    let words = words(name);
    (0..words.len()).any(|position| is_secret(&words, position, b"?"))
}

/// Like [`hides`] for a name in the middle of a text, where a short value after `key=` is mostly harmless.
pub(super) fn hides_within(name: &[u8], value: &[u8]) -> bool {
    let weak = |word: &String| matches!(word.as_str(), "KEY" | "KEYS" | "AUTH" | "PASS");
    let last_is_weak = words(name).last().is_some_and(weak);
    hides(name, value) && !(last_is_weak && (value.len() < 6 || is_number(value)))
}

fn is_secret(words: &[String], position: usize, value: &[u8]) -> bool {
    let Some(word) = words.get(position).map(String::as_str) else {
        return false;
    };
    let before = position
        .checked_sub(1)
        .and_then(|before| words.get(before))
        .map(String::as_str);
    match word {
        "KEY" | "KEYS" => {
            !before.is_some_and(|before| PUBLIC_KEYS.contains(&before))
                // `AWS_ACCESS_KEY_ID` is the public half; what looks like one is found by its shape.
                && words.get(position + 1).is_none_or(|next| next != "ID")
        }
        // `AUTH_MODE=oauth` says how, `BASIC_AUTH=user:password` says what.
        "AUTH" => position + 1 == words.len(),
        // `PWD` is the working directory, `MYSQL_PWD` a password.
        "PWD" => before.is_some_and(|before| before != "OLD") && !is_place(value),
        "TOKENS" => true,
        _ => {
            SECRET_WORDS.contains(&word)
                || SECRET_ENDINGS.iter().any(|ending| word.ends_with(ending))
        }
    }
}

/// The words of a name, in capitals: split at everything that is no letter or digit and at a capital that
/// starts a word; digits at the end of a word are left out.
fn words(name: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    // Java writes its properties `-Dname=value`.
    let name = name.strip_prefix(b"-D").unwrap_or(name);
    let mut rest = name.iter().copied().peekable();
    let mut previous = b'_';
    while let Some(byte) = rest.next() {
        let next_is_small = rest.peek().is_some_and(u8::is_ascii_lowercase);
        let starts_word = byte.is_ascii_uppercase()
            && (previous.is_ascii_lowercase()
                || previous.is_ascii_digit()
                || (previous.is_ascii_uppercase() && next_is_small));
        if !byte.is_ascii_alphanumeric() || starts_word {
            push_word(&mut words, &mut word);
        }
        if byte.is_ascii_alphanumeric() {
            word.push(char::from(byte.to_ascii_uppercase()));
        }
        previous = byte;
    }
    push_word(&mut words, &mut word);
    words
}

fn push_word(words: &mut Vec<String>, word: &mut String) {
    let letters = word.trim_end_matches(|character: char| character.is_ascii_digit());
    if !letters.is_empty() {
        words.push(letters.to_owned());
    }
    word.clear();
}

fn is_place(value: &[u8]) -> bool {
    let starts = [&b"/"[..], b"./", b"../", b"~/", b"file://"];
    value.len() <= PATH_LIMIT
        && starts.iter().any(|start| value.starts_with(start))
        && !value.iter().any(u8::is_ascii_whitespace)
}

/// A number with a unit, a version, or a time.
fn is_number(value: &[u8]) -> bool {
    let letters = value
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic())
        .count();
    value.first().is_some_and(u8::is_ascii_digit)
        && value.len() <= 20
        && letters <= 3
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".:-".contains(byte))
}

/// A URL, whose own secrets are found by their shape, or a host.
fn is_address(value: &[u8]) -> bool {
    let host = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:/_,[]*".contains(byte)
    };
    value.len() <= PATH_LIMIT
        && (bstr::ByteSlice::contains_str(value, "://")
            || (value.contains(&b'.') && value.iter().all(host)))
}

fn is_word(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    value.len() <= 64
        && digits <= 4
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-/".contains(byte))
}

fn is_switch(value: &[u8]) -> bool {
    let words = [
        "0", "1", "true", "false", "yes", "no", "on", "off", "enabled", "disabled", "none", "null",
    ];
    words
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_fingerprint(value: &[u8]) -> bool {
    value.len() == 40 && value.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_way_to_write_a_name() {
        for (name, expected) in [
            ("DB_PASSWORD", &["DB", "PASSWORD"][..]),
            ("dbPassword", &["DB", "PASSWORD"]),
            ("myAPIKey2", &["MY", "API", "KEY"]),
            (
                "-Dssl.keyStorePassword",
                &["SSL", "KEY", "STORE", "PASSWORD"],
            ),
            ("X-Api-Key", &["X", "API", "KEY"]),
            ("PASSWORD_1", &["PASSWORD"]),
        ] {
            assert_eq!(words(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn names_of_secrets_hide_their_values() {
        for name in [
            "PASSWORD",
            "DB_PASSWORD",
            "DB_PASS",
            "PGPASSWORD",
            "MYSQL_PWD",
            "dbPasswd",
            "SECRET",
            "CLIENT_SECRET",
            "clientSecret",
            "API_KEY",
            "apikey",
            "APIKEY",
            "X-Api-Key",
            "ACCESS_TOKEN",
            "GITHUB_TOKEN",
            "NPM_CONFIG__AUTH",
            "BASIC_AUTH",
            "SSH_PASSPHRASE",
            "SESSION_COOKIE",
            "SENTRY_DSN",
            "GOOGLE_CREDENTIALS",
            "AWS_SECRET_ACCESS_KEY",
            "VAULT_SECRET_ID",
            "SECRET_KEY_BASE",
            "PASSWORD_2",
            "JWT",
            "PASSWORD_FILE",
            "TOKEN_TTL",
            "TOKEN_URL",
            "KEY_NAME",
        ] {
            assert!(hides(name.as_bytes(), b"hunter2 and 1 more!"), "{name}");
        }
    }

    #[test]
    fn names_of_ordinary_things_do_not() {
        for (name, value) in [
            ("PWD", "/srv"),
            ("OLDPWD", "/"),
            ("PUBLIC_KEY", "abc def"),
            ("SSH_PUB_KEY", "ssh-rsa x"),
            ("KEYBOARD", "us layout"),
            ("MONKEY", "anything at all"),
            ("GIT_AUTHOR", "A U Thor"),
            ("XAUTHORITY", "/root/.Xauthority"),
            ("SSH_AUTH_SOCK", "/tmp/agent.1"),
            ("AUTH_MODE", "oauth, maybe"),
            ("AUTH", "true"),
            ("PASSWORD_FILE", "/run/secrets/db"),
            ("TOKEN_TTL", "3600s"),
            ("MAX_TOKENS", "4096"),
            ("TOKEN_URL", "https://login.example.com/token"),
            ("KEY_ALGORITHM", "RS256"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("KEYCLOAK_HOST", "keycloak:8080"),
            ("COOKIE_SECURE", "true"),
            ("COOKIE_DOMAIN", ".example.com"),
            ("AWS_ACCESS_KEY_ID", "some id"),
            ("COMPASS", "north by west"),
            ("BYPASS_CACHE", "1"),
            ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
            ("SECRET_NAME", "db-credentials"),
            ("KEY_PREFIX", "cache:"),
            ("DB_PASSWORD", ""),
        ] {
            assert!(
                !hides(name.as_bytes(), value.as_bytes()) || value.is_empty(),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn a_password_of_one_digit_is_still_a_password() {
        assert!(hides(b"DB_PASSWORD", b"1"));
        assert!(hides(b"CLIENT_SECRET", b"true"));
    }
}
