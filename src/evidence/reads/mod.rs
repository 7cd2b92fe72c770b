//! Which environment variables a source file reads, and what it takes them for.
//!
//! A value is wrong only for the code that reads it: `tcp://10.0.0.7:9080` in `REVIEWS_PORT` is in every pod of the
//! namespace, and breaks the one program that takes it for a number. So this finds the reads (a tree-sitter query for
//! each language, `queries/`), their defaults, and how the value is used as far as the syntax shows: what converts it,
//! where in a text it is put, what gets its name.
//!
//! Bytes in, facts out. Sources are a target's, so a file has limits in size, time and matches; broken syntax yields
//! what can be read. A program without sources gives hints at most, see [`binary`].

pub mod archive;
pub mod binary;
mod calls;
mod format;
mod gathered;
mod language;
mod literal;
mod nodes;
mod notation;
#[cfg(test)]
mod tests;
mod uses;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use bstr::BString;
use serde::Serialize;
use tree_sitter::{
    Node, ParseOptions, Parser, Query, QueryCursor, QueryCursorOptions, QueryMatch,
    StreamingIterator as _, Tree,
};

pub use language::Language;

/// How much of a file is read at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its size in bytes.
    pub bytes: usize,
    /// The time for parsing it and as much again for searching it.
    pub time: Duration,
    /// The reads that are kept.
    pub reads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 * 1024 * 1024,
            time: Duration::from_millis(500),
            reads: 2_000,
        }
    }
}

/// What a source file reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReads {
    /// Its language.
    pub language: Language,
    /// Its reads, by line.
    pub reads: Vec<EnvRead>,
    /// What was not seen; empty when all of it was.
    pub gaps: Vec<Gap>,
}

/// Why some of a file was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "gap")]
pub enum Gap {
    /// It is larger than the limit.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// It took too long.
    TimedOut,
    /// It has more reads than are kept.
    TooMany,
    /// A part of it is not the language that its name says.
    BrokenSyntax,
}

/// A place where a program reads a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvRead {
    /// Which variable.
    pub name: Name,
    /// The line, counted from 1.
    pub line: usize,
    /// What is taken where the variable is not set, when that is a literal.
    pub default: Option<BString>,
    /// What happens where it is not set and there is no default.
    pub unset: Unset,
    /// Whether it is read when the program is built instead of when it runs.
    pub at_build: bool,
    /// How the value is used, in the order in which it was found.
    pub uses: Vec<Use>,
}

/// The name of a variable that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// It stands in the source.
    Known(BString),
    /// It is made when the program runs: the expression, at most 80 bytes of it.
    Computed(BString),
}

/// What happens where a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unset {
    /// The default is taken, or something else than a literal.
    Default,
    /// The program fails at this place: an exception, a panic.
    Raises,
    /// The program gets nothing (`None`, `undefined`, an empty text) and goes on.
    Nothing,
}

/// How a value is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Use {
    /// As what.
    pub kind: UseKind,
    /// What shows it.
    pub shown_by: ShownBy,
    /// The line, counted from 1.
    pub line: usize,
}

/// What a value is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UseKind {
    /// The number of a port.
    Port,
    /// The name or address of a host.
    Host,
    /// A URL.
    Url,
    /// Yes or no.
    Boolean,
    /// A number.
    Number,
    /// A path of a file.
    Path,
}

/// What shows how a value is used, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShownBy {
    /// It is converted (`int(…)`, `parseInt(…)`).
    Conversion,
    /// It is put behind a colon or a scheme (`http://{}:{}`).
    Format,
    /// It is passed to a function that takes such a thing (`listen(…)`).
    Argument,
    /// It is compared with `true` or the like.
    Comparison,
    /// The variable, field or argument that gets it has such a name.
    Binding,
    /// Its default is one.
    Default,
    /// Its own name says so.
    Name,
}

impl EnvRead {
    /// What the value is taken for, by the strongest sign; `None` when nothing shows it.
    #[must_use]
    pub fn kind(&self) -> Option<&Use> {
        // A number behind a colon is a port: the more special one of two signs that are equally strong wins.
        let numeric = |kind| matches!(kind, UseKind::Number | UseKind::Port);
        let strongest = self.uses.iter().min_by_key(|one| one.shown_by)?;
        if strongest.kind != UseKind::Number {
            return Some(strongest);
        }
        let port = self
            .uses
            .iter()
            .filter(|one| one.kind == UseKind::Port && numeric(one.kind))
            .min_by_key(|one| one.shown_by);
        Some(port.unwrap_or(strongest))
    }

    /// Takes over what another read of the same variable on the same line shows.
    fn merge(&mut self, other: Self) {
        if self.unset != Unset::Default {
            self.unset = other.unset;
            self.default = other.default;
        }
        for one in other.uses {
            if !self.uses.contains(&one) {
                self.uses.push(one);
            }
        }
    }

    /// Its name, when it stands in the source.
    #[must_use]
    pub fn known_name(&self) -> Option<&[u8]> {
        match &self.name {
            Name::Known(name) => Some(name),
            Name::Computed(_) => None,
        }
    }
}

/// Finds the reads of a file; `None` when its language is not known.
#[must_use]
pub fn reads(path: &[u8], content: &[u8], limits: Limits) -> Option<FileReads> {
    let language = Language::of(path, content)?;
    let mut file = FileReads {
        language,
        reads: Vec::new(),
        gaps: Vec::new(),
    };
    if content.len() > limits.bytes {
        let bytes = content.len();
        file.gaps.push(Gap::TooLarge { bytes });
        return Some(file);
    }
    let Some(tree) = parse(language, content, limits.time) else {
        file.gaps.push(Gap::TimedOut);
        return Some(file);
    };
    if tree.root_node().has_error() {
        file.gaps.push(Gap::BrokenSyntax);
    }
    Search::new(language, content, &tree, limits).run(&mut file);
    Some(file)
}

fn parse(language: Language, content: &[u8], time: Duration) -> Option<Tree> {
    let deadline = Instant::now() + time;
    let mut parser = Parser::new();
    parser.set_language(&language.grammar()).ok()?;
    let mut stop = |_: &tree_sitter::ParseState| past(deadline);
    let options = ParseOptions::new().progress_callback(&mut stop);
    let mut read = |offset: usize, _| content.get(offset..).unwrap_or_default();
    parser.parse_with_options(&mut read, None, Some(options))
}

fn past(deadline: Instant) -> ControlFlow<()> {
    if Instant::now() > deadline {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// A read as the query found it.
struct Found<'tree> {
    key: Node<'tree>,
    read: Option<Node<'tree>>,
    default: Option<Node<'tree>>,
    binding: Option<Node<'tree>>,
    raises: bool,
    at_build: bool,
    is_server: bool,
}

struct Search<'a> {
    language: Language,
    content: &'a [u8],
    tree: &'a Tree,
    query: &'static Query,
    limits: Limits,
    deadline: Instant,
}

impl<'a> Search<'a> {
    fn new(language: Language, content: &'a [u8], tree: &'a Tree, limits: Limits) -> Self {
        Self {
            language,
            content,
            tree,
            query: language.query(),
            limits,
            deadline: Instant::now() + limits.time,
        }
    }

    fn run(&self, file: &mut FileReads) {
        let mut notations: Vec<(usize, EnvRead)> = Vec::new();
        let mut assigned: HashMap<&[u8], usize> = HashMap::new();
        let found = self.matches(file, &mut notations, &mut assigned);
        let uses = uses::Uses::new(self.language, self.content, self.tree, self.deadline);
        for one in found {
            if self.language == Language::Shell && !self.is_from_outside(&one, &assigned) {
                continue;
            }
            if let Some(read) = self.read(&one, &uses) {
                let at = one.read.unwrap_or(one.key).start_byte();
                notations.push((at, read));
            }
        }
        // The same place may match twice, as in `fetch` with and without a default, and a line may ask twice, as in
        // `x is None else x`: that is one read.
        notations.sort_by_key(|(at, read)| (*at, read.default.is_none()));
        let mut seen: HashMap<(BString, usize), usize> = HashMap::new();
        for (_, read) in notations {
            let (Name::Known(name) | Name::Computed(name)) = &read.name;
            let position = *seen
                .entry((name.clone(), read.line))
                .or_insert(file.reads.len());
            match file.reads.get_mut(position) {
                Some(first) => first.merge(read),
                None => file.reads.push(read),
            }
        }
        if past(self.deadline).is_break() && !file.gaps.contains(&Gap::TimedOut) {
            file.gaps.push(Gap::TimedOut);
        }
    }

    fn matches(
        &self,
        file: &mut FileReads,
        notations: &mut Vec<(usize, EnvRead)>,
        assigned: &mut HashMap<&'a [u8], usize>,
    ) -> Vec<Found<'a>> {
        let mut cursor = QueryCursor::new();
        cursor.set_match_limit(10_000);
        let deadline = self.deadline;
        let mut stop = |_: &tree_sitter::QueryCursorState| past(deadline);
        let options = QueryCursorOptions::new().progress_callback(&mut stop);
        let mut found = Vec::new();
        let mut matches =
            cursor.matches_with_options(self.query, self.tree.root_node(), self.content, options);
        while let Some(one) = matches.next() {
            if found.len() + notations.len() >= self.limits.reads {
                file.gaps.push(Gap::TooMany);
                break;
            }
            if let Some(node) = self.capture(one, "spring").or(self.capture(one, "tag")) {
                let binding = self.capture(one, "binding");
                let reads = notation::reads(self.language, self.content, node, binding);
                notations.extend(reads.into_iter().map(|read| (node.start_byte(), read)));
            } else if let Some(node) = self.capture(one, "assigned") {
                let text = self.text(node);
                let first = assigned.entry(text).or_insert(node.start_byte());
                *first = node.start_byte().min(*first);
            } else if let Some(key) = self.capture(one, "key") {
                found.push(self.found(one, key));
            }
        }
        found
    }

    fn found(&self, one: &QueryMatch<'_, 'a>, key: Node<'a>) -> Found<'a> {
        let settings = self.query.property_settings(one.pattern_index);
        let is = |wanted: &str, to: &str| {
            settings
                .iter()
                .any(|setting| &*setting.key == wanted && setting.value.as_deref() == Some(to))
        };
        Found {
            key,
            read: self.capture(one, "read"),
            default: self.capture(one, "default"),
            binding: self.capture(one, "binding"),
            raises: is("absent", "raises"),
            at_build: is("when", "build"),
            is_server: is("names", "server"),
        }
    }

    fn capture(&self, one: &QueryMatch<'_, 'a>, name: &str) -> Option<Node<'a>> {
        let index = self.query.capture_index_for_name(name)?;
        one.nodes_for_capture_index(index).next()
    }

    fn text(&self, node: Node<'_>) -> &'a [u8] {
        self.content.get(node.byte_range()).unwrap_or_default()
    }

    fn read(&self, one: &Found<'a>, uses: &uses::Uses<'a>) -> Option<EnvRead> {
        let name = self.name(one.key);
        if one.read.is_some_and(nodes::is_written)
            || matches!(&name, Name::Known(name) if name.is_empty())
            || (one.is_server
                && matches!(&name, Name::Known(name) if language::is_of_request(name)))
        {
            return None;
        }
        let mut gathered = gathered::Gathered::default();
        if let Some(default) = one.default {
            gathered.falls_back(literal::of(self.content, default), nodes::line(default));
        } else if self.language == Language::Shell
            && let Some(read) = one.read
        {
            notation::shell_default(
                self.text(read),
                self.text(one.key),
                nodes::line(read),
                &mut gathered,
            );
        }
        match (one.read, one.binding) {
            (_, Some(binding)) => uses.of_binding(binding, &mut gathered),
            (Some(read), None) => uses.of_expression(read, &mut gathered),
            (None, None) => {}
        }
        if let Name::Known(name) = &name {
            gathered.names(name, nodes::line(one.key));
        }
        let at = one.read.unwrap_or(one.key);
        Some(EnvRead {
            name,
            line: nodes::line(at),
            unset: gathered.unset(one.raises),
            default: gathered.literal,
            at_build: one.at_build,
            uses: gathered.uses,
        })
    }

    fn name(&self, key: Node<'_>) -> Name {
        let plain = matches!(
            key.kind(),
            "property_identifier"
                | "shorthand_property_identifier_pattern"
                | "variable_name"
                | "word"
        );
        let literal = if plain && self.language != Language::Php {
            Some(self.text(key).into())
        } else {
            literal::text(self.content, key)
        };
        match literal {
            Some(name) => Name::Known(name),
            None => Name::Computed(self.text(key).get(..80).unwrap_or(self.text(key)).into()),
        }
    }

    /// Whether a shell's variable is one of its environment: not one that the shell sets, nor one that the script
    /// has set before.
    fn is_from_outside(&self, one: &Found<'_>, assigned: &HashMap<&[u8], usize>) -> bool {
        let name = self.text(one.key);
        let is_name = name
            .first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let before = assigned.get(name).is_some_and(|at| {
            let read = one.read.unwrap_or(one.key);
            // `X=${X:-d}` reads the outer one.
            let own = read.parent().is_some_and(|parent| {
                parent.kind() == "variable_assignment" && parent.start_byte() == *at
            });
            *at < read.start_byte() && !own
        });
        is_name && !before && !language::is_of_shell(name)
    }
}
