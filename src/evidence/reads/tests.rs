//! Reads of whole files.

use proptest::prelude::*;

use super::{UseKind::*, *};

/// `NAME[=default][!] KIND/how`: a read as one line.
fn show(read: &EnvRead) -> String {
    let name = match &read.name {
        Name::Known(name) => name.to_string(),
        Name::Computed(text) => format!("<{text}>"),
    };
    let default = read.default.as_ref().map(|text| format!("={text}"));
    let raises = if read.unset == Unset::Raises { "!" } else { "" };
    let kind = read
        .kind()
        .map(|one| format!(" {:?}/{:?}", one.kind, one.shown_by));
    let build = if read.at_build { " at build" } else { "" };
    format!(
        "{}:{name}{}{raises}{}{build}",
        read.line,
        default.unwrap_or_default(),
        kind.unwrap_or_default()
    )
}

#[track_caller]
fn check(path: &str, source: &str, expected: &[&str]) {
    let file = reads(path.as_bytes(), source.as_bytes(), Limits::default()).unwrap();
    assert_eq!(file.gaps, [], "{path}");
    assert_eq!(
        file.reads.iter().map(show).collect::<Vec<_>>(),
        expected,
        "{path}:\n{source}"
    );
}

#[test]
fn the_queries_compile_for_every_language() {
    for language in Language::ALL {
        assert!(language.query().pattern_count() > 0, "{language:?}");
    }
}

/// The lines of istio's pull request 28308, with other names.
#[test]
fn the_incidents_code_takes_the_variable_for_a_port() {
    let source = r#"
import os
hostname = "reviews" if (os.environ.get("REVIEWS_HOSTNAME") is None) else os.environ.get("REVIEWS_HOSTNAME")
port = "9080" if (os.environ.get("REVIEWS_PORT") is None) else os.environ.get("REVIEWS_PORT")
domain = "" if (os.environ.get("DOMAIN") is None) else "." + os.environ.get("DOMAIN")
reviews = {
    "name": "http://{0}{1}:{2}".format(hostname, domain, port),
}
"#;
    let file = reads(b"productpage.py", source.as_bytes(), Limits::default()).unwrap();
    let port = file
        .reads
        .iter()
        .find(|read| read.known_name() == Some(b"REVIEWS_PORT"))
        .unwrap();
    assert_eq!(port.default, Some("9080".into()));
    assert_eq!(port.line, 4);
    let shown: Vec<_> = port
        .uses
        .iter()
        .map(|one| (one.kind, one.shown_by, one.line))
        .collect();
    assert_eq!(
        shown,
        [
            (Number, ShownBy::Default, 4),
            (Port, ShownBy::Binding, 4),
            (Port, ShownBy::Format, 7),
            (Port, ShownBy::Name, 4),
        ]
    );
    assert_eq!(
        port.kind().map(|one| (one.kind, one.shown_by)),
        Some((Port, ShownBy::Format))
    );
    let host = file
        .reads
        .iter()
        .find(|read| read.known_name() == Some(b"REVIEWS_HOSTNAME"))
        .unwrap();
    assert_eq!(
        host.kind().map(|one| (one.kind, one.shown_by)),
        Some((Host, ShownBy::Format))
    );
}

#[test]
fn python() {
    check(
        "app.py",
        r#"
from os import environ, getenv
a = os.environ["MONGO_DB_URL"]
b = int(os.environ.get("WORKERS", "4"))
c = environ.get(prefix + "_X")
d = getenv("B") or "fallback"
e = os.getenv(key="K")
host, port = os.environ["H"], os.environ["P"]
u = f"http://{os.environ['F_HOST']}:{os.getenv('F_NUMBER')}/x"
v = "%s:%s" % (getenv("G"), getenv("I"))
app.run(port=getenv("J"))
debug = os.environ.get("K", "").lower() in ("true", "1")
os.environ["WRITTEN"] = "x"
if "SEEN" in os.environ: pass
t = env.int("TTL", 60)
w = open(os.environ["CA"])
class S: x = Field(env="PYD")
"#,
        &[
            "3:MONGO_DB_URL! Url/Name",
            "4:WORKERS=4 Number/Conversion",
            "5:<prefix + \"_X\">",
            "6:B=fallback",
            "7:<key=\"K\">",
            "8:H! Host/Binding",
            "8:P! Port/Binding",
            "9:F_HOST! Host/Format",
            "9:F_NUMBER Port/Format",
            "10:G Host/Format",
            "10:I Port/Format",
            "11:J Port/Binding",
            "12:K= Boolean/Comparison",
            "14:SEEN",
            "15:TTL=60 Number/Default",
            "16:CA! Path/Argument",
            "17:PYD",
        ],
    );
}

#[test]
fn javascript_and_typescript() {
    let source = r#"
const { A_URL, B: b, C = "3", D: d = '4' } = process.env;
const port = process.env.REVIEWS_PORT || 9080;
const url = `http://${process.env.R_HOST ?? "reviews"}:${port}/x`;
app.listen(process.env["P"]);
const n = parseInt(process.env.N, 10);
const o = { host: process.env.O };
process.env[name + "_X"];
Deno.env.get("E");
import.meta.env.VITE_API;
const t = process.env.T ? process.env.T : "x";
const on = process.env.ON === "true";
process.env.WRITTEN = "1";
const s = "http://" + process.env.S1 + ":" + process.env.S2;
const g = getEnv("G", "80");
fetch(process.env.F);
"#;
    let expected = [
        "2:A_URL Url/Binding",
        "2:B",
        "2:C=3 Number/Default",
        "2:D=4 Number/Default",
        "3:REVIEWS_PORT=9080 Port/Format",
        "4:R_HOST=reviews Host/Format",
        "5:P Port/Argument",
        "6:N Number/Conversion",
        "7:O Host/Binding",
        "8:<name + \"_X\">",
        "9:E",
        "10:VITE_API",
        "11:T=x",
        "12:ON Boolean/Comparison",
        "14:S1 Host/Format",
        "14:S2 Port/Format",
        "15:G=80 Number/Default",
        "16:F Url/Argument",
    ];
    for path in ["app.mjs", "app.ts", "app.tsx"] {
        check(path, source, &expected);
    }
}

#[test]
fn java() {
    check(
        "App.java",
        r#"
class A {
  @Value("${reviews.port:9080}") int port;
  @Value(value = "${Y_NAME}") String y;
  void f() {
    int p = Integer.parseInt(System.getenv("P"));
    String q = System.getenv("Q_NAME");
    String u = "http://" + System.getenv("H") + ":" + q;
    String v = System.getenv().getOrDefault("V", "d");
    String w = System.getenv("W") == null ? "9080" : System.getenv("W");
    String x = String.format("http://%s:%s/", "h", w);
    String z = System.getenv(name);
    boolean t = "true".equals(System.getenv("T")) || System.getenv("T2").equalsIgnoreCase("true");
    new Socket(System.getenv("SH"), 80);
  }
}
"#,
        &[
            "3:REVIEWS_PORT=9080 Port/Binding",
            "4:Y_NAME!",
            "6:P Number/Conversion",
            "7:Q_NAME Port/Format",
            "8:H Host/Format",
            "9:V=d",
            "10:W=9080 Port/Format",
            "12:<name>",
            "13:T",
            "13:T2 Boolean/Comparison",
            "14:SH Host/Argument",
        ],
    );
}

#[test]
fn kotlin() {
    check(
        "App.kt",
        r#"
val p = System.getenv("P")?.toInt() ?: 8080
val h = System.getenv("H") ?: "reviews"
val n = System.getenv("N_VALUE")
val u = "http://$h:$n/x"
val m = System.getenv()["M"]
val d = System.getenv().getOrDefault("D", "80")
val z = System.getenv(name)
class C(@Value("\${SERVER_PORT:80}") val port: Int)
"#,
        &[
            "2:P=8080 Number/Conversion",
            "3:H=reviews Host/Format",
            "4:N_VALUE Port/Format",
            "6:M",
            "7:D=80 Number/Default",
            "8:<name>",
            "9:SERVER_PORT=80 Port/Binding",
        ],
    );
}

#[test]
fn ruby() {
    check(
        "app.rb",
        r#"
p = ENV.fetch("P", 80).to_i
h = ENV["H"] || "reviews"
n = ENV["N"]
u = "http://#{h}:#{n}/x"
q = ENV.fetch("Q") { "d" }
r = ENV.fetch("R")
ENV[name]
ENV["W"] = "x"
s = format("%s:%s", ENV["S1"], ENV["S2"])
t = ENV["T"] == "true"
"#,
        &[
            "2:P=80 Number/Conversion",
            "3:H=reviews Host/Format",
            "4:N Port/Format",
            "6:Q=d",
            "7:R!",
            "8:<name>",
            "10:S1 Host/Format",
            "10:S2 Port/Format",
            "11:T Boolean/Comparison",
        ],
    );
}

#[test]
fn php() {
    check(
        "index.php",
        r#"<?php
$p = getenv('P') ?: 80;
$h = $_ENV["H"] ?? 'reviews';
$r = (int) env('R', 3);
$u = "http://{$h}:$p/x";
$v = "http://" . getenv("V1") . ":" . $_SERVER["V2"];
$w = sprintf("%s:%s", getenv("W1"), getenv("W2"));
$z = getenv($n);
$a = $_SERVER["REQUEST_URI"];
$b = intval(getenv("B"));
"#,
        &[
            "2:P=80 Port/Format",
            "3:H=reviews Host/Format",
            "4:R=3 Number/Conversion",
            "6:V1 Host/Format",
            "6:V2 Port/Format",
            "7:W1 Host/Format",
            "7:W2 Port/Format",
            "8:<$n>",
            "10:B Number/Conversion",
        ],
    );
}

#[test]
fn go() {
    check(
        "main.go",
        r#"package main
type C struct {
	Listen int `json:"x" env:"LISTEN_PORT,required" envDefault:"80"`
	Host string `envconfig:"HOST"`
	Other string `json:"env"`
}
func f() {
	p := os.Getenv("P")
	q, ok := os.LookupEnv("Q")
	u := fmt.Sprintf("http://%s:%s/x", q, p)
	n, err := strconv.Atoi(os.Getenv("N"))
	z := os.Getenv(key)
	v := "http://" + os.Getenv("V1") + ":" + os.Getenv("V2")
	g := getEnv("G", "8080")
	http.ListenAndServe(":" + os.Getenv("L"), nil)
	net.JoinHostPort(os.Getenv("J1"), os.Getenv("J2"))
}
func other() { p := "unrelated"; fmt.Sprintf("http://%s", p) }
"#,
        &[
            "3:LISTEN_PORT=80 Port/Name",
            "4:HOST Host/Binding",
            "8:P Port/Format",
            "9:Q Host/Format",
            "11:N Number/Conversion",
            "12:<key>",
            "13:V1 Host/Format",
            "13:V2 Port/Format",
            "14:G=8080 Number/Default",
            "15:L Port/Format",
            "16:J1 Host/Argument",
            "16:J2 Port/Argument",
        ],
    );
}

#[test]
fn rust() {
    check(
        "main.rs",
        r#"
fn f() {
    let p = std::env::var("P").unwrap_or_else(|_| "80".to_string());
    let h = env::var("H").unwrap_or("reviews".into());
    let u = format!("http://{}:{p}/x", h);
    let n = std::env::var("N").unwrap().parse::<u16>();
    let k = env!("K");
    let z = env::var(name);
    let d = env::var("D").expect("D is set");
    let x = format!("http://{}:{}", h, d);
}
struct A { #[arg(long, env = "CLAP_PORT")] port: u16 }
"#,
        &[
            "3:P=80 Port/Format",
            "4:H=reviews Host/Format",
            "6:N! Number/Conversion",
            "7:K at build",
            "8:<name>",
            "9:D! Port/Format",
            "12:CLAP_PORT Port/Name",
        ],
    );
}

#[test]
fn shell() {
    check(
        "entrypoint",
        r#"#!/bin/sh
PORT=${PORT:-8080}
OWN=1
: "${NEEDED:?must be set}"
for i in a b; do echo "$i $OWN $1 $? $PWD"; done
exec curl "http://$REVIEWS_HOST:${REVIEWS_PORT}/x" "$TOKEN"
"#,
        &[
            "2:PORT=8080 Port/Binding",
            "4:NEEDED!",
            "6:REVIEWS_HOST Host/Format",
            "6:REVIEWS_PORT Port/Format",
            "6:TOKEN",
        ],
    );
}

#[test]
fn code_that_reads_nothing_yields_nothing() {
    for (path, source) in [
        (
            "a.py",
            "# os.environ['X']\nx = \"os.environ['X']\"\nd.get('X')",
        ),
        (
            "a.js",
            "// process.env.X\nconst s = 'process.env.X'; foo.env.X",
        ),
        ("a.go", "package main // os.Getenv(\"X\")\n"),
        ("A.java", "class A { String s = \"System.getenv\"; }"),
        ("a.rb", "# ENV['X']\nenv['X']"),
    ] {
        check(path, source, &[]);
    }
}

#[test]
fn a_language_is_told_by_the_name_or_the_first_line() {
    for (path, content, language) in [
        ("/app/x.py", "", Some(Language::Python)),
        (
            "run",
            "#!/usr/bin/env -S python3.11 -u\n",
            Some(Language::Python),
        ),
        ("run", "#!/bin/bash\n", Some(Language::Shell)),
        ("x.d.ts", "", Some(Language::TypeScript)),
        ("Makefile", "all:", None),
        ("py", "", None),
    ] {
        assert_eq!(
            Language::of(path.as_bytes(), content.as_bytes()),
            language,
            "{path}"
        );
    }
}

#[test]
fn broken_syntax_yields_what_can_be_read_and_says_so() {
    let source = "x = os.environ['A']\ndef f(x):\n    return x +\n\ny = os.environ['B']\n";
    let file = reads(b"a.py", source.as_bytes(), Limits::default()).unwrap();
    assert!(file.gaps.contains(&Gap::BrokenSyntax));
    let names: Vec<_> = file.reads.iter().map(show).collect();
    assert_eq!(names, ["1:A!", "5:B!"]);
}

#[test]
fn limits_are_named_when_they_cut() {
    let source = "x = os.environ['A']\n".repeat(100);
    let limits = |bytes, reads, time| Limits { bytes, time, reads };
    let long = Duration::from_secs(9);
    let gaps = |limits| reads(b"a.py", source.as_bytes(), limits).unwrap().gaps;
    assert_eq!(
        gaps(limits(9, 9, long)),
        [Gap::TooLarge {
            bytes: source.len()
        }]
    );
    assert_eq!(gaps(limits(9_999, 9, long)), [Gap::TooMany]);
    let big = source.repeat(200);
    let started = Instant::now();
    let file = reads(
        b"a.py",
        big.as_bytes(),
        limits(99_999_999, 9_999_999, Duration::from_millis(5)),
    );
    assert!(file.unwrap().gaps.contains(&Gap::TimedOut));
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

/// One of each language's own words, so that random files come close to real ones.
const WORDS: [&str; 24] = [
    "os.environ",
    "[",
    "]",
    "(",
    ")",
    "\"X\"",
    "process.env",
    ".get",
    "ENV",
    "System.getenv",
    "std::env::var",
    "${X:-",
    "}",
    "{",
    "\n",
    "+",
    ":",
    "if",
    "=",
    "#",
    "`",
    "env!",
    "\u{0}",
    "%s",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), language in 0..LANGUAGES.len()) {
        let _ = reads(LANGUAGES[language].as_bytes(), &bytes, Limits::default()).unwrap();
    }

    #[test]
    fn any_words_are_read_without_harm(words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..80), language in 0..LANGUAGES.len()) {
        let source = words.concat();
        let file = reads(LANGUAGES[language].as_bytes(), source.as_bytes(), Limits::default()).unwrap();
        prop_assert!(file.reads.iter().all(|read| read.line <= source.lines().count() + 1));
    }
}

const LANGUAGES: [&str; 11] = [
    "a.py", "a.js", "a.ts", "a.tsx", "A.java", "a.kt", "a.rb", "a.php", "a.go", "a.rs", "a.sh",
];
