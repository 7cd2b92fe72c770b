//! What the arguments of a process say of its code.

use bstr::{BStr, BString, ByteSlice as _};

use super::{Candidates, Facts, Why, known, normal, system};
use crate::evidence::mapping::{join, parent};

/// A program that runs code which its arguments name.
struct Interpreter {
    /// Its name without its version.
    name: &'static str,
    /// Options that take the next argument for themselves, so that it is no script.
    with_value: &'static [&'static str],
    /// Options whose value is the code itself.
    inline: &'static [&'static str],
    /// Options whose value is a folder of code.
    folders: &'static [&'static str],
    /// Files that stand at the top of its packages.
    markers: &'static [&'static str],
}

const INTERPRETERS: [Interpreter; 9] = [
    Interpreter {
        name: "python",
        with_value: &["-W", "-X", "--check-hash-based-pycs"],
        inline: &["-c"],
        folders: &[],
        markers: &[],
    },
    Interpreter {
        name: "pypy",
        with_value: &["-W", "-X"],
        inline: &["-c"],
        folders: &[],
        markers: &[],
    },
    Interpreter {
        name: "node",
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
        ],
        inline: &["-e", "--eval", "-p", "--print"],
        folders: &[],
        markers: &["package.json"],
    },
    Interpreter {
        name: "nodejs",
        with_value: &["-r", "--require", "--import", "--loader"],
        inline: &["-e", "--eval", "-p", "--print"],
        folders: &[],
        markers: &["package.json"],
    },
    Interpreter {
        name: "bun",
        with_value: &["-r", "--preload"],
        inline: &["-e"],
        folders: &["--cwd"],
        markers: &["package.json"],
    },
    Interpreter {
        name: "deno",
        with_value: &["-c", "--config", "--import-map"],
        inline: &[],
        folders: &[],
        markers: &["deno.json", "deno.jsonc", "package.json"],
    },
    Interpreter {
        name: "php",
        with_value: &["-d", "-c", "-S", "-z"],
        inline: &["-r"],
        folders: &["-t", "--docroot"],
        markers: &["composer.json"],
    },
    Interpreter {
        name: "ruby",
        with_value: &["-r", "-E", "-C"],
        inline: &["-e"],
        folders: &["-I"],
        markers: &["Gemfile", "config.ru"],
    },
    Interpreter {
        name: "perl",
        with_value: &["-M", "-m"],
        inline: &["-e", "-E"],
        folders: &["-I"],
        markers: &[],
    },
];

/// Options of servers (gunicorn, uwsgi, uvicorn, celery, ...) whose value is a folder of code.
const SERVER_FOLDERS: [&str; 8] = [
    "--chdir",
    "--chdir2",
    "--pythonpath",
    "--python-path",
    "--app-dir",
    "--workdir",
    "--document-root",
    "--cwd",
];

/// Collects what the arguments say.
pub(super) fn collect(facts: &Facts<'_>, candidates: &mut Candidates) {
    let process = facts.process;
    let folder = known(&process.folder).unwrap_or_default();
    let arguments: Vec<&BStr> = process
        .arguments
        .iter()
        .map(|argument| argument.as_bstr())
        .collect();
    let Some((program, arguments)) = arguments.split_first() else {
        return;
    };
    let name = stem(program);
    for value in values(arguments, &SERVER_FOLDERS) {
        candidates.add(absolute(folder, value.1), Why::Argument(value.0), true);
    }
    if name == "java" {
        java(arguments, folder, candidates);
        return;
    }
    match INTERPRETERS
        .iter()
        .find(|interpreter| interpreter.name.as_bytes() == name.as_bytes())
    {
        Some(interpreter) => script(interpreter, program, arguments, folder, candidates),
        None => program_itself(facts, folder, candidates),
    }
}

/// `python3.11`, `ruby3.2` and `php8.2` are interpreters too.
fn stem(program: &BStr) -> BString {
    let name = program.rsplit_str("/").next().unwrap_or_default();
    let stem = name.trim_end_with(|character| {
        character.is_ascii_digit() || character == '.' || character == '-'
    });
    stem.into()
}

/// What follows options, or stands behind their `=`: the argument and its value.
fn values(arguments: &[&BStr], options: &[&str]) -> Vec<(BString, BString)> {
    let mut found = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        for option in options {
            let Some(rest) = argument.strip_prefix(option.as_bytes()) else {
                continue;
            };
            let value = if rest.is_empty() {
                arguments.get(index + 1).map(|value| value.as_bytes())
            } else if option.starts_with("--") {
                rest.strip_prefix(b"=")
            } else {
                Some(rest)
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                found.push(((*argument).to_owned(), value.into()));
            }
        }
    }
    found
}

fn script(
    interpreter: &Interpreter,
    program: &BStr,
    arguments: &[&BStr],
    folder: &BStr,
    candidates: &mut Candidates,
) {
    for (argument, value) in values(arguments, interpreter.folders) {
        let path = absolute(folder, value);
        candidates
            .packages
            .push((path.clone(), interpreter.markers));
        candidates.add(path, Why::Argument(argument), true);
    }
    let is_python = matches!(interpreter.name, "python" | "pypy");
    if is_python && program.contains(&b'/') {
        candidates.launched_by(program);
    }
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let is = |options: &[&str]| {
            options
                .iter()
                .any(|option| option.as_bytes() == argument.as_bytes())
        };
        if is_python && **argument == "-m" {
            if let Some(module) = rest.next() {
                candidates.modules.push((*module).to_owned());
            }
            candidates.modules.extend(rest.filter_map(module_of));
            return;
        }
        if is(interpreter.inline) {
            return;
        }
        if !argument.starts_with(b"-") {
            let path = absolute(folder, (*argument).to_owned());
            code(interpreter, &path, argument, folder, candidates);
            if is_python {
                candidates.modules.extend(rest.filter_map(module_of));
            }
            return;
        }
        if is(interpreter.with_value) || is(interpreter.folders) {
            rest.next();
        }
    }
}

fn code(
    interpreter: &Interpreter,
    path: &BString,
    argument: &BStr,
    folder: &BStr,
    candidates: &mut Candidates,
) {
    let is_launcher =
        parent(parent(path.as_ref()).0).1 == "bin" || parent(path.as_ref()).0.ends_with(b"/bin");
    if is_launcher && interpreter.markers.is_empty() {
        // A console script: its code is a module of an installed package.
        candidates.launchers.push(path.clone());
    }
    // The word behind a server's name (`artisan serve`, `manage.py runserver`) is no path, but a script is.
    if system::is_system(path.as_ref()) || path.contains_str("/node_modules/.bin/") {
        return;
    }
    if !interpreter.markers.is_empty() {
        candidates
            .packages
            .push((path.clone(), interpreter.markers));
    }
    let parent_folder = parent(path.as_ref()).0;
    let in_folder = crate::evidence::mapping::strip(parent_folder, folder).is_some();
    if in_folder && !system::is_bare(folder) {
        return;
    }
    candidates.add(
        parent_folder.to_owned(),
        Why::Script(argument.to_owned()),
        false,
    );
}

/// `shop.wsgi:app`, as servers are told what to serve.
fn module_of(argument: &&BStr) -> Option<BString> {
    let (module, attribute) = argument.split_once_str(":")?;
    let is_name = |text: &[u8]| {
        !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte))
            && !text.first().is_some_and(u8::is_ascii_digit)
    };
    let attribute = attribute.split_str("(").next().unwrap_or_default();
    (is_name(module) && is_name(attribute)).then(|| module.into())
}

/// A program that is no interpreter: its own folder, unless that is one of the system.
fn program_itself(facts: &Facts<'_>, folder: &BStr, candidates: &mut Candidates) {
    let Some(executable) = known(&facts.process.executable) else {
        return;
    };
    let executable = super::without_deleted(executable);
    let lies_in = parent(executable).0;
    if system::is_system(executable) || system::is_installed(executable) {
        return;
    }
    let top = if matches!(parent(lies_in).1.as_bytes(), b"bin" | b"sbin") {
        parent(lies_in).0
    } else {
        lies_in
    };
    let why = Why::Program(executable.to_owned());
    // With `WORKDIR /` and the program beside its files, the top of the image is the folder.
    if top == "/" {
        if folder == "/" {
            candidates.add(top.to_owned(), why, false);
        }
    } else if !system::is_bare(top) {
        candidates.add(top.to_owned(), why, false);
    }
}

fn java(arguments: &[&BStr], folder: &BStr, candidates: &mut Candidates) {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_bytes() {
            b"-cp" | b"-classpath" | b"--class-path" | b"-p" | b"--module-path" => {
                if let Some(path) = rest.next() {
                    class_path(path, argument, folder, candidates);
                }
            }
            b"-jar" => {
                if let Some(jar) = rest.next() {
                    add_jar(jar, argument, folder, candidates);
                }
                return;
            }
            argument if argument.starts_with(b"-Dcatalina.base=") => {
                let base = argument.get(16..).unwrap_or_default();
                let webapps = join(base.as_bstr(), BStr::new("webapps"));
                candidates.add(webapps, Why::Argument(argument.into()), true);
            }
            argument if argument.starts_with(b"--class-path=") => {
                let path = argument.get(13..).unwrap_or_default();
                class_path(path.as_bstr(), argument.as_bstr(), folder, candidates);
            }
            argument if argument.starts_with(b"-") || argument.starts_with(b"@") => {}
            // The main class: what follows is the program's.
            _ => return,
        }
    }
}

/// Adds the folders of a class path, `:` between them.
pub(super) fn class_path(path: &BStr, option: &BStr, folder: &BStr, candidates: &mut Candidates) {
    for entry in path.split_str(":").filter(|entry| !entry.is_empty()) {
        let entry = entry.strip_suffix(b"/*").unwrap_or(entry).as_bstr();
        if is_jar(entry) {
            add_jar(entry, option, folder, candidates);
        } else {
            let path = absolute(folder, entry.to_owned());
            candidates.add(path, Why::Argument(option.to_owned()), true);
        }
    }
}

fn add_jar(jar: &BStr, option: &BStr, folder: &BStr, candidates: &mut Candidates) {
    let path = absolute(folder, jar.to_owned());
    let lies_in = parent(path.as_ref()).0.to_owned();
    if !system::is_bare(lies_in.as_ref()) && !system::is_system(lies_in.as_ref()) {
        candidates.add(lies_in, Why::Argument(option.to_owned()), true);
    } else if lies_in == "/" {
        candidates.add(lies_in, Why::Argument(option.to_owned()), false);
    }
}

/// Whether a path names an archive of classes.
pub fn is_jar(path: &BStr) -> bool {
    [".jar", ".war", ".ear"]
        .iter()
        .any(|end| path.ends_with(end.as_bytes()))
}

/// A path as the process means it.
pub(super) fn absolute(folder: &BStr, path: BString) -> BString {
    if path.starts_with(b"/") {
        normal(path.as_ref())
    } else if folder.is_empty() {
        path
    } else {
        normal(join(folder, path.as_ref()).as_ref())
    }
}

impl Candidates {
    /// A virtual environment has its packages beside its interpreter.
    fn launched_by(&mut self, program: &BStr) {
        let folder = parent(program).0;
        if parent(folder).1 == "bin" {
            self.environments.push(parent(folder).0.to_owned());
        }
    }
}
