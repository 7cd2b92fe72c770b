use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};
use proptest::prelude::*;

use super::*;

fn shown(name: &str, value: &str) -> String {
    let shown = Redactor::new(false).variable(name.as_bytes(), value.as_bytes(), Source::Unknown);
    String::from_utf8(shown.bytes().into_owned()).unwrap()
}

fn arguments(line: &[&str]) -> String {
    let arguments: Vec<BString> = line
        .iter()
        .map(|argument| BString::from(*argument))
        .collect();
    Redactor::new(false)
        .arguments(&arguments)
        .iter()
        .map(|shown| String::from_utf8(shown.bytes().into_owned()).unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_value_is_hidden_by_its_name() {
    assert_eq!(shown("DB_PASSWORD", "hunter2"), "[redacted: 7 bytes]");
    assert_eq!(shown("PASSWORD", "x"), "[redacted: 1 byte]");
    assert_eq!(shown("PASSWORD", ""), "");
}

#[test]
fn a_value_is_hidden_by_its_source_whatever_it_is() {
    let hidden = Redactor::new(false).variable(b"GREETING", b"hello", Source::Secret);
    assert_eq!(*hidden.bytes(), *b"[redacted: 5 bytes]");
    assert_eq!(hidden.hidden()[0].why, Why::Source);
}

#[test]
fn shapes_are_found_whatever_the_name_and_the_rest_stays() {
    for (value, expected) in [
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
            "[redacted: 80 bytes]",
        ),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted: 20 bytes]"),
        ("id AKIAIOSFODNN7EXAMPLE;", "id [redacted: 20 bytes];"),
        (
            "ghp_012345678901234567890123456789012345",
            "[redacted: 40 bytes]",
        ),
        ("glpat-abcdefghijklmnopqrst", "[redacted: 26 bytes]"),
        ("xoxb-1234567890-abcdef", "[redacted: 22 bytes]"),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "[redacted: 32 bytes]"),
        (
            "postgres://app:s3cr3t@db:5432/app?sslmode=off",
            "postgres://app:[redacted: 6 bytes]@db:5432/app?sslmode=off",
        ),
        (
            "redis://:p@ss@cache:6379/0",
            "redis://:[redacted: 4 bytes]@cache:6379/0",
        ),
        (
            "mongodb://u:p/w@a,b/x",
            "mongodb://u:[redacted: 3 bytes]@a,b/x",
        ),
        (
            "http://u:one@a,http://u:two@b",
            "http://u:[redacted: 3 bytes]@a,http://u:[redacted: 3 bytes]@b",
        ),
        (
            "https://ghp_012345678901234567890123456789012345@github.com/x",
            "https://[redacted: 40 bytes]@github.com/x",
        ),
        (
            "https://hooks.slack.com/services/T0/B0/xyz",
            "https://hooks.slack.com/services/[redacted: 9 bytes]",
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nrest",
            "[redacted: 63 bytes]\nrest",
        ),
        ("-----BEGIN PRIVATE KEY-----\\nMHc", "[redacted: 32 bytes]"),
        (
            "Authorization: Bearer abcdefgh.x",
            "Authorization: [redacted: 6 bytes] [redacted: 10 bytes]",
        ),
        (
            "Server=db;User=me;Password=one two;Port=1",
            "Server=db;User=me;Password=[redacted: 3 bytes] two;Port=1",
        ),
        (
            r#"{"user":"me","password":"a \"b\" c","port":1}"#,
            r#"{"user":"me","password":"[redacted: 9 bytes]","port":1}"#,
        ),
        (
            "-Xmx1g -Djavax.net.ssl.keyStorePassword=changeit -jar x.jar",
            "-Xmx1g -Djavax.net.ssl.keyStorePassword=[redacted: 8 bytes] -jar x.jar",
        ),
        (
            "server --token abc --port 80",
            "server --token [redacted: 3 bytes] --port 80",
        ),
        ("q7Zp9xK2mW4vB8nR1tY6uJ3hG5fD0sA+", "[redacted: 32 bytes]"),
    ] {
        assert_eq!(shown("SETTING", value), expected, "{value}");
    }
}

#[test]
fn ordinary_values_are_shown() {
    for (name, value) in [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/opt/key:/home/me/.local/share/secret/bin",
        ),
        ("LANG", "C.UTF-8"),
        ("PORT", "8080"),
        ("NODE_VERSION", "22.11.0"),
        ("GIT_COMMIT", "ca2f2a4d5f0e1b3c9a8d7e6f5a4b3c2d1e0f9a8b"),
        (
            "IMAGE",
            "registry.example.com/team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
        ("REQUEST_ID", "123e4567-e89b-12d3-a456-426614174000"),
        ("HOSTNAME", "web-7d4b9c6f5d-x2x7k"),
        ("PWD", "/srv/MyApplicationServer/releases/20240101"),
        ("KUBERNETES_PORT", "tcp://10.0.0.1:443"),
        (
            "LS_COLORS",
            "rs=0:di=01;34:ln=01;36:*.tar=01;31:*.key=00;90",
        ),
        ("URL", "https://example.com:8443/a@b?x=1#y"),
        (
            "JAVA_TOOL_OPTIONS",
            "-XX:+UseContainerSupport -XX:MaxRAMPercentage=75.0 -Dfile.encoding=UTF-8",
        ),
        (
            "CLASSPATH",
            "/app/resources:/app/classes:/app/libs/spring-boot-autoconfigure-3.2.0.jar",
        ),
        (
            "STORE",
            "/nix/store/v9p25q9l3nfkkcgkljbl3qf2ycqzb4l6-python3-3.11.9/bin/python3",
        ),
        ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
        (
            "PYTHON_SHA256",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
        (
            "HANDLER",
            "com.example.application.SomeVeryLongAbstractFactoryBean",
        ),
        ("TITLE", "sk-learn-training-of-something"),
        ("CLASS", "XMLHttpRequestFactoryImplementationV2"),
        (
            "INTEGRITY",
            "sha512-4eC39HqLyjWDarjtT1zdp7dcq7Zp9xK2mW4vB8nR1tY6uJ3hG5fD0sA==",
        ),
        ("HOST_KEY", ""),
        ("NO_PROXY", "localhost,127.0.0.1,.svc,.cluster.local"),
        ("TERM", "xterm-256color"),
    ] {
        assert_eq!(shown(name, value), value, "{name}");
    }
}

#[test]
fn arguments_are_hidden_by_option_and_program() {
    for (line, expected) in [
        (
            &["app", "--password=hunter2", "--port=80"][..],
            "app --password=[redacted: 7 bytes] --port=80",
        ),
        (
            &["app", "--password", "hunter2", "--port", "80"],
            "app --password [redacted: 7 bytes] --port 80",
        ),
        (&["app", "--api-key", "-x"], "app --api-key -x"),
        (
            &["app", "--token-file", "/run/token", "x"],
            "app --token-file /run/token x",
        ),
        (&["app", "-p8080", "-p", "9090"], "app -p8080 -p 9090"),
        (
            &["/usr/bin/mysql", "-uroot", "-phunter2"],
            "/usr/bin/mysql -uroot -p[redacted: 7 bytes]",
        ),
        (
            &["redis-cli", "-a", "hunter2"],
            "redis-cli -a [redacted: 7 bytes]",
        ),
        (
            &["curl", "-u", "me:hunter2", "http://x"],
            "curl -u me:[redacted: 7 bytes] http://x",
        ),
        (
            &["curl", "-H", "X-Api-Key: hunter2"],
            "curl -H X-Api-Key: [redacted: 7 bytes]",
        ),
        (
            &["app", "postgres://me:hunter2@db/x"],
            "app postgres://me:[redacted: 7 bytes]@db/x",
        ),
        (
            &["env", "DB_PASSWORD=hun ter2", "app"],
            "env DB_PASSWORD=[redacted: 8 bytes] app",
        ),
        (
            &["sh", "-c", "DB_PASSWORD=hunter2 exec app --secret 'a b'"],
            "sh -c DB_PASSWORD=[redacted: 7 bytes] exec app --secret '[redacted: 3 bytes]'",
        ),
        (&["nginx: worker process"], "nginx: worker process"),
        (
            &["python3", "-m", "http.server", "--bind", "127.0.0.1"],
            "python3 -m http.server --bind 127.0.0.1",
        ),
    ] {
        assert_eq!(arguments(line), expected);
    }
}

#[test]
fn show_secrets_shows_everything() {
    let all = Redactor::new(true);
    assert_eq!(
        *all.variable(b"PASSWORD", b"x", Source::Secret).bytes(),
        *b"x"
    );
    assert_eq!(
        *all.arguments(&["--password=x".into()])[0].bytes(),
        *b"--password=x"
    );
}

/// A process may write a megabyte over its environment, with what makes a careless scanner look at all of
/// it for each of its bytes.
#[test]
fn a_hostile_value_takes_no_longer_than_another_one() {
    for pattern in [
        "-----BEGIN PRIVATE KEY",
        "-----BEGIN -----",
        "://",
        "://a:",
        "sk-.",
        "Bearer ",
        "password=",
        "PASSWORD_FILE=/",
        "token_url=x://",
        "a=",
        "--token ",
        "\"password\":\"\\\"",
        "hooks.slack.com/services/",
        "k=\\",
        "a.",
        "a/",
        "=",
    ] {
        let value = pattern.repeat((1 << 20) / pattern.len());
        let before = processor_time();
        let _ = shown("X", &value);
        let took = processor_time() - before;
        assert!(took.tv_sec() < 5, "{pattern}: {took}");
    }
}

/// What this thread has had of a processor: other work on the machine does not count.
fn processor_time() -> TimeSpec {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap()
}

/// A secret that cannot stand in the text around it by chance.
fn secret() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9!%^*()_+~-]{10,40}".prop_map(|rest| format!("Zq7{rest}"))
}

fn secret_name() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "API_KEY",
        "APIKEY",
        "CREDENTIALS",
        "DSN",
        "PASSPHRASE",
        "COOKIE",
        "BASIC_AUTH",
        "password",
        "apiKey",
        "clientSecret",
        "access-token",
        "PRIVATE_KEY",
    ]);
    let before = prop::sample::select(vec!["", "DB_", "MY_APP_", "spring.datasource.", "x-"]);
    (before, word).prop_map(|(before, word)| format!("{before}{word}"))
}

fn issued_token() -> impl Strategy<Value = String> {
    let prefixes: Vec<_> = super::shape::ISSUED
        .iter()
        .map(|(prefix, _)| *prefix)
        .collect();
    (
        prop::sample::select(prefixes),
        "[A-Z][a-z][0-9]{4}[a-zA-Z0-9]{34}",
    )
        .prop_map(|(prefix, rest)| format!("{prefix}{rest}"))
}

fn ordinary_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "(/[a-z][a-z0-9_-]{0,15}){1,8}(:(/[a-z][a-z0-9_-]{0,15}){1,4}){0,4}",
        "[0-9]{1,6}",
        "v?[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(-(rc|beta)\\.[0-9])?",
        "[a-z]{2}_[A-Z]{2}\\.UTF-8",
        "[0-9a-f]{40}",
        "[0-9a-f]{64}",
        "sha256:[0-9a-f]{64}",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}",
        "[a-z]{3,12}-[0-9a-z]{8,10}-[0-9a-z]{5}",
        "(tcp|http|https)://[a-z]{1,12}(\\.[a-z]{2,8}){0,3}:[0-9]{2,5}(/[a-z]{1,8}){0,3}",
        "10\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
        "[a-z]{3,9}( [a-z]{2,9}){0,6}",
        "[A-Z][a-z]{3,9}([A-Z][a-z]{3,9}){1,5}",
    ]
}

proptest! {
    #[test]
    fn a_secret_by_name_is_never_shown(name in secret_name(), secret in secret()) {
        let printed = [
            shown(&name, &secret),
            arguments(&["app", &format!("--{name}={secret}")]),
            arguments(&["app", &format!("--{name}"), &secret]),
            shown("OPTIONS", &format!("-D{name}={secret} -x")),
            shown("CONFIG", &format!("{{\"{name}\": \"{secret}\"}}")),
        ];
        for text in printed {
            prop_assert!(!text.contains(&secret), "{}", text);
        }
    }

    #[test]
    fn an_issued_token_is_never_shown(token in issued_token(), before in "([a-z ]{0,8}[ =:,\"(])?", after in "([ ,;\")][a-z ]{0,8})?") {
        let value = format!("{before}{token}{after}");
        prop_assert!(!shown("SETTING", &value).contains(&token), "{}", value);
        prop_assert!(!arguments(&["app", &value]).contains(&token), "{}", value);
    }

    #[test]
    fn a_password_in_a_url_is_never_shown(user in "[a-z]{0,8}", secret in "[a-zA-Z0-9!%^*()_+~.-]{4,30}", host in "[a-z]{3,8}") {
        let password = format!("Zq7{secret}");
        let url = format!("amqp://{user}:{password}@{host}:5672/v");
        let shown = shown("BROKER", &url);
        prop_assert!(!shown.contains(&password) && shown.contains(&host), "{}", shown);
    }

    #[test]
    fn ordinary_values_are_never_hidden(value in ordinary_value()) {
        prop_assert_eq!(shown("SETTING", &value), value.clone());
        prop_assert_eq!(arguments(&["app", &value]), format!("app {value}"));
    }

    #[test]
    fn whatever_the_bytes_what_is_not_hidden_stays_in_place(name in prop::collection::vec(any::<u8>(), 0..12), value in prop::collection::vec(any::<u8>(), 0..200)) {
        let shown = Redactor::new(false).variable(&name, &value, Source::Unknown);
        let hidden: usize = shown.hidden().iter().map(|hidden| hidden.range.len()).sum();
        let placeholders: usize = shown.hidden().iter().map(|hidden| super::placeholder(hidden.range.len()).len()).sum();
        prop_assert_eq!(shown.bytes().len() - placeholders, value.len() - hidden);
    }
}
