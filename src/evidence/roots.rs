//! Where the running code of a process may lie.

use bstr::{BStr, BString, ByteSlice as _};

use crate::protocol::message::Process;

/// A place to look for running code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The folder as the process sees it; empty for its working directory.
    pub path: BString,
    /// Why it is one.
    pub why: Why,
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
}

/// Programs whose first argument without a dash is the code that they run.
const INTERPRETERS: [&str; 9] = [
    "bun", "deno", "node", "nodejs", "perl", "php", "pypy", "python", "ruby",
];

/// Options that take the next argument for themselves, so that it is no script.
const OPTIONS_WITH_VALUE: [&str; 10] = [
    "-W",
    "-X",
    "-c",
    "-d",
    "-e",
    "-I",
    "-m",
    "-r",
    "--import",
    "--require",
];

/// The folders to walk when the user named none: the working directory, and the script's folder when that
/// lies elsewhere. A working directory of `/` is no code folder: nobody keeps the code of one service in
/// the root of the system, and everything else is there.
pub fn of_process(process: &Process) -> Vec<Root> {
    let folder = process.folder.known();
    let mut roots = Vec::new();
    if folder.is_none_or(|folder| folder != "/") {
        roots.push(Root {
            path: BString::default(),
            why: Why::WorkingDirectory,
        });
    }
    if let Some(script) = script(process) {
        let parent = match script.rfind_byte(b'/') {
            Some(0) | None => None,
            Some(slash) => script.get(..slash),
        };
        if let Some(parent) =
            parent.filter(|parent| !folder.is_some_and(|folder| is_below(parent, folder)))
        {
            roots.push(Root {
                path: parent.into(),
                why: Why::Script(script.into()),
            });
        }
    }
    roots
}

/// The script in the arguments of an interpreter, when it is named by a path.
fn script(process: &Process) -> Option<&BStr> {
    let (program, arguments) = process.arguments.split_first()?;
    let name = program.rsplit_str("/").next().unwrap_or_default();
    // `python3.11`, `ruby3.2`, `php8.2` are interpreters too.
    let stem = name.trim_end_with(|character| {
        character.is_ascii_digit() || character == '.' || character == '-'
    });
    if !INTERPRETERS
        .iter()
        .any(|interpreter| interpreter.as_bytes() == stem)
    {
        return None;
    }
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if !argument.starts_with(b"-") {
            return argument.contains(&b'/').then(|| argument.as_bstr());
        }
        if OPTIONS_WITH_VALUE
            .iter()
            .any(|option| option.as_bytes() == argument.as_slice())
        {
            if matches!(argument.as_slice(), b"-c" | b"-e" | b"-m") {
                // The code is in the arguments, or a module that is found by its name.
                return None;
            }
            arguments.next();
        }
    }
    None
}

/// Whether a path (absolute, or relative to the folder) lies in a folder.
fn is_below(path: &[u8], folder: &[u8]) -> bool {
    if !path.starts_with(b"/") {
        return !path.split_str("/").any(|part| part == b"..");
    }
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Why {
    /// The reason, to follow the path.
    pub fn because(&self) -> String {
        match self {
            Self::Asked => "as asked for".to_owned(),
            Self::WorkingDirectory => "the working directory".to_owned(),
            Self::Script(script) => format!("the folder of `{script}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Reading;

    fn roots(folder: &str, arguments: &[&str]) -> Vec<String> {
        let process = Process {
            folder: Reading::Known(folder.into()),
            ..Process::example(1, 0, arguments)
        };
        of_process(&process)
            .into_iter()
            .map(|root| root.path.to_string())
            .collect()
    }

    #[test]
    fn the_working_directory_is_a_root_and_a_script_in_it_adds_none() {
        assert_eq!(roots("/app", &["python3.11", "-u", "main.py"]), [""]);
        assert_eq!(roots("/app", &["node", "/app/src/server.js"]), [""]);
        assert_eq!(roots("/app", &["/usr/bin/node", "src/server.js"]), [""]);
    }

    #[test]
    fn a_script_elsewhere_adds_its_folder() {
        assert_eq!(
            roots("/data", &["python3", "-X", "dev", "/opt/app/run.py", "--x"]),
            ["", "/opt/app"]
        );
        assert_eq!(roots("/apple", &["node", "/app/server.js"]), ["", "/app"]);
        assert_eq!(
            roots("/data", &["node", "../app/server.js"]),
            ["", "../app"]
        );
    }

    #[test]
    fn a_working_directory_of_slash_is_not_the_code() {
        assert_eq!(roots("/", &["python3", "/opt/app/run.py"]), ["/opt/app"]);
        assert_eq!(roots("/", &["/server"]), Vec::<String>::new());
    }

    #[test]
    fn code_in_the_arguments_and_modules_name_no_script() {
        assert_eq!(
            roots("/app", &["python3", "-c", "import x; x.run('/a/b')"]),
            [""]
        );
        assert_eq!(
            roots("/app", &["python3", "-m", "http.server", "/x/y"]),
            [""]
        );
        assert_eq!(roots("/app", &["server", "/etc/server/config"]), [""]);
    }
}
