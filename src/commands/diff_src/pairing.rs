//! Which running folder is compared with which folder of the repository.

use std::path::PathBuf;

use bstr::{BString, ByteSlice as _};

use super::{bytes, reference::Reference, running::RunningTree};
use crate::{
    cli::error::{CommandError, ErrorKind},
    evidence::{
        comparison::{Pairing, ReferenceFile, repository_path_of},
        mapping::{self, How},
        roots::{Root, Why},
    },
    protocol::message::Skip,
    render::safe,
};

/// What the user has said about folders.
pub(super) struct Pins {
    roots: Vec<BString>,
    paths: Vec<BString>,
}

/// The pairings, with how each was found.
pub(super) struct Pairings {
    pub(super) pairs: Vec<Pairing>,
    pub(super) how: Vec<How>,
}

impl Pairings {
    /// Adds a pairing. A folder of the repository has one running folder: of two copies, the one with more equal
    /// files counts, and the first when they agree.
    fn add(&mut self, pairing: Pairing, how: How) {
        let copy = self
            .pairs
            .iter()
            .position(|other| other.repository == pairing.repository);
        if let Some((other, other_how)) = copy
            .and_then(|position| Some((self.pairs.get_mut(position)?, self.how.get_mut(position)?)))
        {
            if how.agreeing() > other_how.agreeing() {
                (*other, *other_how) = (pairing, how);
            }
        } else {
            self.pairs.push(pairing);
            self.how.push(how);
        }
    }

    /// The repository paths whose running side is not known: unreadable, or on purpose not read.
    pub(super) fn unreadable(&self, running: &RunningTree) -> Vec<BString> {
        let unreadable = running
            .unreadable
            .iter()
            .map(|(root, path, _)| (*root, path));
        let skipped = running
            .skipped
            .iter()
            // What lies below another root is known: it is listed there.
            .filter(|(_, _, skip)| !matches!(skip, Skip::OtherRoot(_)))
            .map(|(root, path, _)| (*root, path));
        unreadable
            .chain(skipped)
            .filter_map(|(root, path)| repository_path_of(root, path.as_ref(), &self.pairs))
            .collect()
    }
}

impl Pins {
    /// Takes `--root` and `--path` apart.
    pub(super) fn new(roots: &[PathBuf], paths: &[PathBuf]) -> Result<Self, CommandError> {
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
            .map(|path| repository_folder(path))
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
        })
    }

    /// The roots that the user named; `None` when kdbg is to find them.
    pub(super) fn roots(&self) -> Option<Vec<Root>> {
        if self.roots.is_empty() && self.paths.is_empty() {
            return None;
        }
        if self.roots.is_empty() {
            // A `--path` alone means the working directory.
            return Some(vec![Root {
                path: BString::default(),
                why: Why::WorkingDirectory,
            }]);
        }
        Some(
            self.roots
                .iter()
                .map(|path| Root {
                    path: path.clone(),
                    why: Why::Asked,
                })
                .collect(),
        )
    }
}

/// A folder of the repository, from its top: `./a/` is `a`, `.` is the top.
fn repository_folder(path: &std::path::Path) -> Result<BString, CommandError> {
    let typed = bytes(path);
    let parts: Vec<&[u8]> = typed
        .split_str("/")
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if typed.starts_with(b"/") || parts.contains(&b"..".as_slice()) {
        let message = format!(
            "`--path {}` does not name a folder of the repository",
            safe(&typed)
        );
        return Err(CommandError::usage(message)
            .hint("name it from the top of the repository, as in `--path services/shop`"));
    }
    Ok(bstr::join("/", parts).into())
}

/// Pairs each root with its folder: as the user said, else as the equal files say.
pub(super) fn pair(
    pins: &Pins,
    running: &RunningTree,
    tree: &[ReferenceFile],
    reference: &Reference,
) -> Result<Pairings, CommandError> {
    let mut pairings = Pairings {
        pairs: Vec::new(),
        how: Vec::new(),
    };
    for root in running.readable_roots() {
        let mapping = match pins.paths.get(root as usize) {
            Some(path) => {
                reference.require_folder(tree, path.as_ref())?;
                Some((BString::default(), path.clone(), How::Asked))
            }
            None => mapping::vote(
                running.named(root),
                tree.iter()
                    .map(|file| (file.path.as_ref(), file.version.id)),
            )
            .map(|mapping| (mapping.running, mapping.repository, mapping.how)),
        };
        if let Some((folder, repository, how)) = mapping {
            pairings.add(
                Pairing {
                    root,
                    running: folder,
                    repository,
                },
                how,
            );
        }
    }
    if pairings.pairs.is_empty() {
        let message = format!(
            "no running file is the same as any at {}, so kdbg cannot tell which folder is which",
            reference.name()
        );
        return Err(CommandError::new(ErrorKind::Incomplete, message)
            .hint("pin the folders with `--root DIR` (as the process sees it) and `--path DIR` (from the top of the repository)")
            .hint("check that `--repo` is the repository of this service"));
    }
    Ok(pairings)
}
