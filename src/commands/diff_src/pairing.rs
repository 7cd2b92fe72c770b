//! Which running folder is compared with which folder of the repository.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use bstr::{BString, ByteSlice as _};

use super::{bytes, reference::Reference, running::RunningTree};
use crate::{
    cli::error::{CommandError, ErrorKind},
    evidence::{
        comparison::ReferenceFile,
        fit::FolderPair,
        mapping::{self, Doubt, How, Mapping},
        noise::left_out::is_compiled,
        roots::{Root, Why},
    },
    render::safe,
};

/// What the user has said about folders.
pub(super) struct Pins {
    roots: Vec<BString>,
    /// Folders of the repository, one for each root.
    paths: Vec<BString>,
    /// Running folders with folders of the repository.
    maps: Vec<(BString, BString)>,
}

impl Pins {
    /// Takes `--root`, `--path` and `--map` apart.
    pub(super) fn new(
        roots: &[PathBuf],
        paths: &[PathBuf],
        maps: &[OsString],
    ) -> Result<Self, CommandError> {
        if !paths.is_empty() && paths.len() != roots.len().max(1) {
            let message = format!(
                "{} `--root` and {} `--path` cannot be paired",
                roots.len(),
                paths.len()
            );
            return Err(CommandError::usage(message)
                .hint("give one `--path` for each `--root`, in the same order, or none at all"));
        }
        let paths: Vec<BString> = paths
            .iter()
            .map(|path| repository_folder("--path ", path.as_os_str()))
            .collect::<Result<_, _>>()?;
        for (position, path) in paths.iter().enumerate() {
            if paths.iter().take(position).any(|other| other == path) {
                let message = format!("`--path {}` is given twice", safe(path));
                return Err(CommandError::usage(message)
                    .hint("compare two copies of the same code in two runs"));
            }
        }
        Ok(Self {
            roots: roots.iter().map(|root| bytes(root)).collect(),
            paths,
            maps: maps.iter().map(|map| pair(map)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether kdbg is to find the roots.
    pub(super) fn wants_roots(&self) -> bool {
        self.roots.is_empty() && self.paths.is_empty()
    }

    /// The roots that the user named, with those of `--map`, in front of those that were found.
    pub(super) fn roots(&self, found: Vec<Root>) -> Vec<Root> {
        let asked = |path: &BString| Root {
            path: path.clone(),
            why: Why::Asked,
            is_guess: false,
        };
        let mut roots: Vec<Root> = self.roots.iter().map(asked).collect();
        if roots.is_empty() && !self.paths.is_empty() {
            // A `--path` alone means the working directory.
            roots.push(Root {
                path: BString::default(),
                why: Why::WorkingDirectory,
                is_guess: false,
            });
        }
        roots.extend(self.maps.iter().map(|(running, _)| asked(running)));
        roots.extend(found);
        roots
    }

    /// The mappings that the user gave, for roots that could be opened.
    fn mappings(&self, running: &RunningTree) -> Vec<Mapping> {
        let by_root = self.paths.iter().enumerate();
        let by_map = self
            .maps
            .iter()
            .enumerate()
            .map(|(position, (_, repository))| {
                let before = self.roots.len().max(usize::from(!self.paths.is_empty()));
                (before + position, repository)
            });
        by_root
            .chain(by_map)
            .filter_map(|(position, repository)| {
                let root = running.roots().get(position)?.path.clone()?;
                Some(Mapping {
                    running: root,
                    repository: repository.clone(),
                    how: How::Asked,
                })
            })
            .collect()
    }
}

/// `A=B`: a running folder and a folder of the repository.
fn pair(map: &OsStr) -> Result<(BString, BString), CommandError> {
    let Some((running, repository)) = map.as_bytes().split_once_str("=") else {
        let message = format!("`--map {}` has no `=`", safe(map.as_bytes()));
        return Err(CommandError::usage(message).hint(
            "write `--map RUNNING=REPOSITORY`, as in `--map /app=services/shop`, or `--map /app=` for the top",
        ));
    };
    let repository = repository_folder("--map ...=", OsStr::from_bytes(repository))?;
    Ok((running.into(), repository))
}

/// A folder of the repository, from its top: `./a/` is `a`, `.` is the top.
fn repository_folder(option: &str, typed: &OsStr) -> Result<BString, CommandError> {
    let typed = typed.as_bytes();
    let parts: Vec<&[u8]> = typed
        .split_str("/")
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if typed.starts_with(b"/") || parts.contains(&b"..".as_slice()) {
        let message = format!(
            "`{option}{}` does not name a folder of the repository",
            safe(typed)
        );
        return Err(CommandError::usage(message)
            .hint("name it from the top of the repository, as in `--path services/shop`"));
    }
    Ok(bstr::join("/", parts).into())
}

/// Maps running folders to folders of the repository: as the user said, else as the equal files say.
pub(super) fn pair_up(
    pins: &Pins,
    running: &RunningTree,
    tree: &[ReferenceFile],
    reference: &Reference,
) -> Result<Vec<Mapping>, CommandError> {
    for repository in pins
        .paths
        .iter()
        .chain(pins.maps.iter().map(|(_, path)| path))
    {
        reference.require_folder(tree, repository.as_ref())?;
    }
    let given = pins.mappings(running);
    let roots = running.root_paths();
    // Paths for all roots leave nothing to be found.
    if !pins.paths.is_empty() && pins.maps.is_empty() {
        return Ok(given);
    }
    Ok(mapping::learn(running.files(), tree, &roots, &given))
}

/// The folders of the commit that runs, where the reference has them too: a file that is the only one of its
/// service, and was changed since, is equal to nothing of the reference.
pub(super) fn from_history(
    folders: &[FolderPair],
    running: &RunningTree,
    tree: &[ReferenceFile],
) -> Vec<Mapping> {
    let roots = running.root_paths();
    let is_below_a_root = |path: &BString| {
        let mut roots = roots.iter();
        roots.any(|root| mapping::strip(path.as_ref(), root.as_ref()).is_some())
    };
    let exists = |folder: &BString| {
        let mut files = tree.iter();
        files.any(|file| mapping::strip(file.path.as_ref(), folder.as_ref()).is_some())
    };
    let mut found: Vec<Mapping> = Vec::new();
    for pair in folders {
        let path = BString::from([b"/", pair.running.as_slice()].concat());
        // of two that a running folder was in the history, the first has most files
        let is_known = found.iter().any(|other| other.running == path);
        if !is_known && is_below_a_root(&path) && exists(&pair.repository) {
            found.push(Mapping {
                running: path,
                repository: pair.repository.clone(),
                how: How::History,
            });
        }
    }
    found
}

/// One file has decided which folder is which, and the names of the others object.
pub(super) fn in_doubt(doubt: &Doubt, reference: &Reference) -> CommandError {
    let folder = |path: &BString| match path.as_slice() {
        b"" => "the top".to_owned(),
        path => format!("`{}`", safe(path)),
    };
    let (voted, file) = (&doubt.voted, safe(&doubt.file));
    let message = format!(
        "it is not certain which folder is which: the only file that is the same at {} is `{file}`, in {}, but {} files of `{}` have the names of those in {}",
        reference.name(),
        folder(&voted.repository),
        doubt.files,
        safe(&doubt.running),
        folder(&doubt.repository),
    );
    let map = |running: &BString, repository: &BString| {
        format!("`--map {}={}`", safe(running), safe(repository))
    };
    CommandError::new(ErrorKind::Incomplete, message).hint(format!(
        "pin it with {} or {}",
        map(&doubt.running, &doubt.repository),
        map(&voted.running, &voted.repository)
    ))
}

/// No running file is known to the reference.
pub(super) fn nothing_in_common(tree: &[ReferenceFile], reference: &Reference) -> CommandError {
    let sources = tree
        .iter()
        .filter(|file| is_compiled(file.path.as_ref()))
        .count();
    if sources * 2 > tree.len() {
        let message = format!(
            "revision only: no file of {} runs as it is, and {sources} of its {} files are sources that get compiled",
            reference.name(),
            tree.len()
        );
        return CommandError::new(ErrorKind::Incomplete, message).hint(
            "the lines of a program cannot be compared with its source; what names its revision is in the program itself",
        );
    }
    let message = format!(
        "no running file is the same as any at {}, so kdbg cannot tell which folder is which",
        reference.name()
    );
    CommandError::new(ErrorKind::Incomplete, message)
        .hint("pin the folders with `--map RUNNING=REPOSITORY`, as in `--map /app=services/shop`")
        .hint("check that `--repo` is the repository of this service")
}
