//! Differences that no change of the code has made: each has a class and a reason, and none is dropped.
//!
//! What a path alone tells is decided here; what needs both contents (line endings, `$Id$`, LFS) in
//! [`attributes`]. A tracked file whose content differs is never noise because of its name.

pub mod atomic;
pub mod attributes;
pub mod ignored;
pub mod left_out;
pub mod lock;
pub mod mounts;
mod names;
pub mod placeholders;

use std::{borrow::Cow, collections::HashSet, fmt};

use bstr::{BStr, BString, ByteSlice as _};

use self::{attributes::Attributes, ignored::Ignored, left_out::Arrivals, mounts::Mount};
use super::{
    comparison::{Difference, ReferenceFile},
    mapping,
};

pub use names::{installed_below, is_dependency, is_generated};

/// Why a difference is none of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Made by the build or by the running program: byte code, caches, build output.
    Generated,
    /// Installed packages.
    Dependency,
    /// The repository ignores it (`.gitignore`, `.dockerignore`).
    Ignored,
    /// Line endings, `$Id$`, `export-subst`, encodings, LFS: the same content in another form.
    Attributes,
    /// Only the permission to execute.
    Mode,
    /// Another file system is mounted there: a `ConfigMap`, a Secret, a volume.
    Mounted,
    /// Only in the reference, and of a kind that builds leave out: tests, documentation, recipes.
    LeftOut,
    /// The same content under another path.
    Moved,
    /// Source that was compiled: what runs is the program made of it.
    Compiled,
    /// Below a submodule, whose content is in another repository.
    Submodule,
    /// Belongs to a package of the distribution.
    System,
    /// Below no folder that is in the repository.
    Unmapped,
}

impl Class {
    /// All of them, in the order of the summary.
    pub const ALL: [Self; 12] = [
        Self::Generated,
        Self::Dependency,
        Self::Ignored,
        Self::Attributes,
        Self::Mode,
        Self::Mounted,
        Self::LeftOut,
        Self::Moved,
        Self::Compiled,
        Self::Submodule,
        Self::System,
        Self::Unmapped,
    ];

    /// Its name, as `--noise=` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Dependency => "dependency",
            Self::Ignored => "ignored",
            Self::Attributes => "attributes",
            Self::Mode => "mode",
            Self::Mounted => "mounted",
            Self::LeftOut => "left-out",
            Self::Moved => "moved",
            Self::Compiled => "compiled",
            Self::Submodule => "submodule",
            Self::System => "system",
            Self::Unmapped => "unmapped",
        }
    }

    /// The class of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A class with what speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// The class.
    pub class: Class,
    /// The evidence, to follow a colon.
    pub because: Cow<'static, str>,
}

impl Noise {
    /// A class with its evidence.
    pub fn new(class: Class, because: impl Into<Cow<'static, str>>) -> Self {
        Self {
            class,
            because: because.into(),
        }
    }
}

/// What is known of the trees that a path is judged in.
pub struct Surroundings<'a> {
    /// Folders of the reference that hold a file, at any depth.
    pub reference_folders: HashSet<&'a BStr>,
    /// Files of the reference.
    pub reference_files: HashSet<&'a BStr>,
    /// What the repository ignores.
    pub ignored: &'a Ignored,
    /// What attributes the repository gives its files.
    pub attributes: &'a Attributes,
    /// What is mounted below the running roots.
    pub mounts: &'a [Mount],
    /// What of the reference has arrived.
    pub arrivals: &'a Arrivals<'a>,
    /// Files of the distribution's packages.
    pub packages: &'a HashSet<BString>,
}

/// All folders that the files of a tree lie in.
pub fn folders(reference: &[ReferenceFile]) -> HashSet<&BStr> {
    let mut folders = HashSet::new();
    for file in reference {
        let mut folder = mapping::parent(file.path.as_ref()).0;
        while !folder.is_empty() && folders.insert(folder) {
            folder = mapping::parent(folder).0;
        }
    }
    folders
}

/// Judges a difference by its path, its sides and what is round it. `would_run` is where a file that only the
/// reference has would run.
pub fn judge(
    difference: &Difference,
    would_run: Option<&BStr>,
    surroundings: &Surroundings<'_>,
) -> Option<Noise> {
    let running_path = difference
        .running
        .as_ref()
        .map(|file| file.path.as_bstr())
        .or(would_run);
    if let Some(mount) = running_path.and_then(|path| mounts::over(path, surroundings.mounts)) {
        return Some(Noise::new(Class::Mounted, mount.to_string()));
    }
    match (&difference.reference, &difference.running) {
        (Some(old), Some(new)) => {
            (old.id == new.version.id && old.mode.same_type(new.version.mode)).then(|| {
                let (old, new) = (old.mode.as_octal(), new.version.mode.as_octal());
                Noise::new(Class::Mode, format!("{old} became {new}"))
            })
        }
        (None, Some(file)) => only_running(difference.path.as_ref(), &file.path, surroundings),
        (Some(_), None) => only_in_reference(difference.path.as_ref(), surroundings),
        (None, None) => None,
    }
}

fn only_in_reference(path: &BStr, surroundings: &Surroundings<'_>) -> Option<Noise> {
    if surroundings.attributes.is_left_out_of_archives(path) {
        return Some(Noise::new(Class::LeftOut, "export-ignore"));
    }
    surroundings.arrivals.left_out(path, surroundings.ignored)
}

fn only_running(path: &BStr, running: &BString, surroundings: &Surroundings<'_>) -> Option<Noise> {
    if surroundings.packages.contains(running) {
        return Some(Noise::new(
            Class::System,
            "a package of the distribution has it",
        ));
    }
    let tracked = |folder: &BStr| surroundings.reference_folders.contains(folder);
    if let Some(because) = is_dependency(path, &tracked) {
        return Some(Noise::new(Class::Dependency, because));
    }
    let has = |path: &BStr| surroundings.reference_files.contains(path);
    if let Some(because) = is_generated(path, &tracked, &has) {
        return Some(Noise::new(Class::Generated, because));
    }
    surroundings
        .ignored
        .by_git(path)
        .map(|because| Noise::new(Class::Ignored, because))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_their_names() {
        for class in Class::ALL {
            assert_eq!(Class::of_name(class.name()), Some(class));
        }
        assert_eq!(Class::of_name("none"), None);
    }
}
