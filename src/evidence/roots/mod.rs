//! Where the running code of a process lies, and how that is known.
//!
//! Facts of the process give candidates; a second look at the target settles those that need one (the nearest
//! `package.json`, the `root` lines of an nginx configuration). Nothing here reads: the caller fetches what
//! [`Candidates::questions`] asks for, in one go, and [`Candidates::settle`] takes the answers.

mod arguments;
mod configuration;
mod runtime;
pub mod system;

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice as _};

use self::configuration::Configurations;
use super::mapping::{join, parent, strip};
use crate::protocol::message::{Process, Reading};

pub use arguments::is_jar;

/// A place to look for running code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The folder as the process sees it; empty for its working directory.
    pub path: BString,
    /// Why it is one.
    pub why: Why,
    /// It may not be there: a convention, or an entry of a search path.
    pub is_guess: bool,
}

/// Why a folder is taken for running code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user said so.
    Asked,
    /// The process works there.
    WorkingDirectory,
    /// The script that the interpreter was given lies there.
    Script(BString),
    /// The program itself lies there.
    Program(BString),
    /// The nearest folder above the code that has this file.
    Package {
        /// `package.json`, `composer.json`, ...
        marker: &'static str,
        /// What lies below it.
        of: BString,
    },
    /// An installed package whose module was started.
    Module(BString),
    /// An argument names it.
    Argument(BString),
    /// A variable of the environment names it.
    Variable(&'static str),
    /// A configuration file names it.
    Configuration(BString),
    /// It is where programs of this kind have their files.
    Convention(&'static str),
    /// The process has this file mapped or open.
    Open(BString),
}

impl Root {
    /// Whether the user named it.
    pub fn is_asked(&self) -> bool {
        self.why == Why::Asked
    }
}

impl Why {
    /// The reason, to follow the path.
    pub fn because(&self) -> String {
        match self {
            Self::Asked => "as asked for".to_owned(),
            Self::WorkingDirectory => "the working directory".to_owned(),
            Self::Script(script) => format!("the folder of `{script}`"),
            Self::Program(program) => format!("the folder of the program `{program}`"),
            Self::Package { marker, of } => format!("the `{marker}` of `{of}`"),
            Self::Module(module) => format!("the installed package of the module `{module}`"),
            Self::Argument(argument) => format!("named by the argument `{argument}`"),
            Self::Variable(name) => format!("named by `{name}`"),
            Self::Configuration(file) => format!("named in `{file}`"),
            Self::Convention(what) => format!("where {what} has its files"),
            Self::Open(file) => format!("the process has `{file}` in use"),
        }
    }
}

/// What is known of the process.
pub struct Facts<'a> {
    /// Its arguments, working directory and executable.
    pub process: &'a Process,
    /// The processes of the target, itself among them: a server's first process knows more than its workers.
    pub processes: &'a [Process],
    /// Its environment block, as the kernel has it; `None` when it could not be read.
    pub environment: Option<&'a [u8]>,
    /// Its memory map (`/proc/PID/maps`).
    pub maps: Option<&'a [u8]>,
    /// The names of its open files.
    pub open_files: &'a [BString],
}

/// Roots, some of which need a second look.
#[derive(Debug, Default)]
pub struct Candidates {
    roots: Vec<Root>,
    /// Code whose package is the nearest folder above with one of the markers.
    packages: Vec<(BString, &'static [&'static str])>,
    /// Configuration files that name folders.
    configurations: Configurations,
    /// Scripts that start a module of an installed package.
    launchers: Vec<BString>,
    /// Folders where Python packages are installed.
    sites: Vec<BString>,
    /// Folders with a `bin` of their own: virtual environments.
    environments: Vec<BString>,
    /// Modules that were started by their names.
    modules: Vec<BString>,
}

/// What is to be found out in the target.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Files whose content is wanted, when they are there.
    pub contents: Vec<BString>,
    /// Paths of which it is enough to know that they are there.
    pub existence: Vec<BString>,
    /// Folders of which the names are wanted.
    pub listings: Vec<BString>,
}

/// What was found out. A path that is not in the maps is not there, or cannot be read.
#[derive(Debug, Default)]
pub struct Answers {
    /// The contents.
    pub contents: HashMap<BString, Vec<u8>>,
    /// The paths that are there.
    pub existing: Vec<BString>,
    /// The names in folders.
    pub listings: HashMap<BString, Vec<BString>>,
}

/// More folders than this are not looked into.
const MOST: usize = 24;

/// How far above the code its package may begin.
const HIGHEST: usize = 6;

impl Candidates {
    /// Reads the candidates off the facts.
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut candidates = Self::default();
        let process = facts.process;
        let folder = known(&process.folder);
        if folder.is_none_or(|folder| !system::is_bare(folder)) {
            candidates.add(BString::default(), Why::WorkingDirectory, false);
        }
        arguments::collect(facts, &mut candidates);
        runtime::collect(facts, &mut candidates);
        candidates.in_use(facts);
        candidates
    }

    /// What is to be found out before the roots are known.
    pub fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        for (code, markers) in &self.packages {
            for folder in above(code.as_ref()) {
                questions.existence.extend(
                    markers
                        .iter()
                        .map(|marker| join(folder, BStr::new(*marker))),
                );
            }
        }
        questions.contents.extend(self.launchers.clone());
        questions
    }

    /// What answers lead on to: includes of configurations. Nothing when all is known; asked again after each round.
    pub fn further_questions(&mut self, answers: &Answers) -> Questions {
        self.configurations.questions(answers)
    }

    /// The roots, in the order of their weight, none twice and none below another.
    pub fn settle(mut self, answers: &Answers, folder: Option<&BStr>) -> Vec<Root> {
        for (code, markers) in std::mem::take(&mut self.packages) {
            let found = above(code.as_ref()).find_map(|folder| {
                let marker = markers.iter().find(|marker| {
                    answers
                        .existing
                        .contains(&join(folder, BStr::new(**marker)))
                })?;
                Some((folder.to_owned(), *marker))
            });
            if let Some((path, marker)) = found.filter(|(path, _)| !system::is_bare(path.as_ref()))
            {
                self.add(path, Why::Package { marker, of: code }, false);
            }
        }
        for (path, file) in std::mem::take(&mut self.configurations).folders(answers) {
            self.add(path, Why::Configuration(file), true);
        }
        for launcher in std::mem::take(&mut self.launchers) {
            let content = answers.contents.get(&launcher);
            if let Some(module) = content.and_then(|text| runtime::launched_module(text)) {
                self.modules.push(module);
            }
        }
        for module in std::mem::take(&mut self.modules) {
            let top = module.split_str(".").next().unwrap_or_default().as_bstr();
            for site in self.sites.clone() {
                self.add(join(site.as_ref(), top), Why::Module(module.clone()), true);
            }
        }
        distinct(self.roots, folder)
    }

    fn add(&mut self, path: BString, why: Why, is_guess: bool) {
        self.roots.push(Root {
            path,
            why,
            is_guess,
        });
    }

    /// Folders of code that the process has mapped or open.
    fn in_use(&mut self, facts: &Facts<'_>) {
        let mapped = facts.maps.map(mapped_files).unwrap_or_default();
        for file in mapped.iter().chain(facts.open_files) {
            let Some(path) = is_code(file.as_ref()).then(|| without_deleted(file.as_ref())) else {
                continue;
            };
            let folder = parent(path).0;
            if path.starts_with(b"/") && !system::is_system(path) && !system::is_installed(path) {
                self.add(folder.to_owned(), Why::Open(path.to_owned()), true);
            }
        }
    }
}

/// Keeps the first of equal folders, and leaves out what lies below another: it is walked with that. Relative
/// folders are taken for what they are below the working directory.
fn distinct(roots: Vec<Root>, folder: Option<&BStr>) -> Vec<Root> {
    let absolute = |path: &BString| match folder {
        _ if path.starts_with(b"/") => path.clone(),
        Some(folder) => normal(join(folder, path.as_ref()).as_ref()),
        None => path.clone(),
    };
    let mut kept: Vec<(BString, Root)> = Vec::new();
    for mut root in roots {
        while root.path.len() > 1 && root.path.ends_with(b"/") {
            root.path.pop();
        }
        let path = absolute(&root.path);
        if system::is_bare(path.as_ref()) && path != "/" {
            continue;
        }
        let is_known = kept
            .iter()
            .any(|(other, _)| strip(path.as_ref(), other.as_ref()).is_some() && other != "/");
        if is_known {
            continue;
        }
        // A guess does not swallow what is certain.
        if !root.is_guess {
            kept.retain(|(other, _)| path == "/" || strip(other.as_ref(), path.as_ref()).is_none());
        }
        if kept.len() < MOST {
            kept.push((path, root));
        }
    }
    kept.into_iter().map(|(_, root)| root).collect()
}

/// Takes `.` and `..` out of an absolute path.
fn normal(path: &BStr) -> BString {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split_str("/") {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut normal = BString::from("/");
    normal.extend_from_slice(&bstr::join("/", parts));
    normal
}

/// The folders above some code, the nearest first, the code's own among them when it is one.
fn above(code: &BStr) -> impl Iterator<Item = &BStr> {
    std::iter::successors(Some(code), |path| {
        let folder = parent(path).0;
        (!folder.is_empty() && folder != *path).then_some(folder)
    })
    .take(HIGHEST)
}

fn known(reading: &Reading<BString>) -> Option<&BStr> {
    reading.known().map(|path| path.as_bstr())
}

/// The files of a memory map, in its order.
pub fn mapped_files(maps: &[u8]) -> Vec<BString> {
    let mut files: Vec<BString> = Vec::new();
    for line in maps.lines() {
        if let Some(start) = line.find_byte(b'/') {
            let name = line.get(start..).unwrap_or_default();
            if files.last().is_none_or(|last| *last != name) {
                files.push(name.into());
            }
        }
    }
    files
}

/// The name of a file without what the kernel says of one that has no name any more.
pub fn without_deleted(name: &BStr) -> &BStr {
    name.strip_suffix(b" (deleted)").unwrap_or(name).as_bstr()
}

/// Whether a file is code by its name.
pub fn is_code(name: &BStr) -> bool {
    const ENDS: [&str; 24] = [
        ".py", ".pyc", ".so", ".js", ".mjs", ".cjs", ".ts", ".node", ".rb", ".php", ".phtml",
        ".jar", ".war", ".class", ".pl", ".pm", ".lua", ".ex", ".beam", ".dll", ".wasm", ".sql",
        ".html", ".tmpl",
    ];
    let name = without_deleted(name);
    ENDS.iter().any(|end| name.ends_with(end.as_bytes()))
}

#[cfg(test)]
mod tests;
