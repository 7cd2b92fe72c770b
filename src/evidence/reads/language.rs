//! The languages, by the names of files.

use std::sync::OnceLock;

use bstr::ByteSlice as _;
use serde::Serialize;
use tree_sitter::Query;

/// A language whose reads are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Python.
    Python,
    /// JavaScript, with JSX.
    JavaScript,
    /// TypeScript.
    TypeScript,
    /// TypeScript with JSX.
    Tsx,
    /// Java.
    Java,
    /// Kotlin.
    Kotlin,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// Go.
    Go,
    /// Rust.
    Rust,
    /// Shells in the manner of Bourne's.
    Shell,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Python,
        Self::JavaScript,
        Self::TypeScript,
        Self::Tsx,
        Self::Java,
        Self::Kotlin,
        Self::Ruby,
        Self::Php,
        Self::Go,
        Self::Rust,
        Self::Shell,
    ];

    /// The language of a file, by the end of its name, or by the program in its first line.
    #[must_use]
    pub fn of(path: &[u8], content: &[u8]) -> Option<Self> {
        let name = path.rsplit_str("/").next().unwrap_or(path);
        let ending = name.rfind_byte(b'.').and_then(|dot| name.get(dot + 1..));
        match ending {
            Some(b"py" | b"pyw") => Some(Self::Python),
            Some(b"js" | b"mjs" | b"cjs" | b"jsx") => Some(Self::JavaScript),
            Some(b"ts" | b"mts" | b"cts") => Some(Self::TypeScript),
            Some(b"tsx") => Some(Self::Tsx),
            Some(b"java") => Some(Self::Java),
            Some(b"kt" | b"kts") => Some(Self::Kotlin),
            Some(b"rb" | b"ru" | b"rake") => Some(Self::Ruby),
            Some(b"php" | b"phtml") => Some(Self::Php),
            Some(b"go") => Some(Self::Go),
            Some(b"rs") => Some(Self::Rust),
            Some(b"sh" | b"bash" | b"ksh") => Some(Self::Shell),
            _ => Self::of_first_line(content),
        }
    }

    fn of_first_line(content: &[u8]) -> Option<Self> {
        let line = content.strip_prefix(b"#!")?.lines().next()?;
        let mut words = line.fields();
        let is_env = |word: &&[u8]| word.ends_with(b"env") || word.starts_with(b"-");
        let program = words.find(|word| !is_env(word))?.rsplit_str("/").next()?;
        let name =
            program.trim_end_with(|character| character.is_ascii_digit() || character == '.');
        match name {
            b"python" => Some(Self::Python),
            b"node" => Some(Self::JavaScript),
            b"ruby" => Some(Self::Ruby),
            b"php" => Some(Self::Php),
            b"sh" | b"bash" | b"dash" | b"ash" | b"ksh" => Some(Self::Shell),
            _ => None,
        }
    }

    pub(super) fn grammar(self) -> tree_sitter::Language {
        match self {
            Self::Python => tree_sitter_python::LANGUAGE,
            Self::JavaScript => tree_sitter_javascript::LANGUAGE,
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX,
            Self::Java => tree_sitter_java::LANGUAGE,
            Self::Kotlin => tree_sitter_kotlin_ng::LANGUAGE,
            Self::Ruby => tree_sitter_ruby::LANGUAGE,
            Self::Php => tree_sitter_php::LANGUAGE_PHP,
            Self::Go => tree_sitter_go::LANGUAGE,
            Self::Rust => tree_sitter_rust::LANGUAGE,
            Self::Shell => tree_sitter_bash::LANGUAGE,
        }
        .into()
    }

    const fn query_text(self) -> &'static str {
        match self {
            Self::Python => include_str!("queries/python.scm"),
            Self::JavaScript | Self::TypeScript | Self::Tsx => {
                include_str!("queries/javascript.scm")
            }
            Self::Java => include_str!("queries/java.scm"),
            Self::Kotlin => include_str!("queries/kotlin.scm"),
            Self::Ruby => include_str!("queries/ruby.scm"),
            Self::Php => include_str!("queries/php.scm"),
            Self::Go => include_str!("queries/go.scm"),
            Self::Rust => include_str!("queries/rust.scm"),
            Self::Shell => include_str!("queries/bash.scm"),
        }
    }

    /// The query of the reads; compiled once.
    pub(super) fn query(self) -> &'static Query {
        static QUERIES: [OnceLock<Query>; Language::ALL.len()] =
            [const { OnceLock::new() }; Language::ALL.len()];
        let compile = || {
            Query::new(&self.grammar(), self.query_text())
                .expect("the queries are part of the program; a test compiles them all")
        };
        QUERIES
            .get(self as usize)
            .expect("one for each language")
            .get_or_init(compile)
    }
}

/// Whether a name in PHP's `$_SERVER` is one that the web server fills in for a request.
pub(super) fn is_of_request(name: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 11] = [
        b"HTTP_",
        b"HTTPS",
        b"REQUEST_",
        b"SERVER_",
        b"REMOTE_",
        b"SCRIPT_",
        b"PHP_",
        b"QUERY_",
        b"DOCUMENT_",
        b"CONTENT_",
        b"PATH_",
    ];
    BEGINNINGS.iter().any(|one| name.starts_with(one)) || matches!(name, b"argv" | b"argc")
}

/// Whether a shell sets the variable itself.
pub(super) fn is_of_shell(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 18] = [
        b"PWD",
        b"OLDPWD",
        b"IFS",
        b"PPID",
        b"UID",
        b"EUID",
        b"RANDOM",
        b"SECONDS",
        b"LINENO",
        b"OPTARG",
        b"OPTIND",
        b"REPLY",
        b"FUNCNAME",
        b"PIPESTATUS",
        b"SHLVL",
        b"EPOCHREALTIME",
        b"EPOCHSECONDS",
        b"_",
    ];
    NAMES.contains(&name) || name.starts_with(b"BASH")
}
