//! Tells the real differences from noise, and names what follows from both.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice as _};
use futures::{StreamExt as _, stream};

use super::{
    contents::{Cache, Reader},
    reference::Reference,
    running::RunningTree,
};
use crate::commands::facts::{self, TargetFacts};
use crate::{
    cli::error::CommandError,
    commands::fetch::is_final,
    evidence::{
        comparison::{Comparison, Difference, Origin, ReferenceFile, RunningFile},
        finding::Finding,
        mapping::Mapping,
        noise::{
            Class, Noise, Surroundings,
            attributes::{self, Attributes},
            folders,
            ignored::{self, Ignored},
            judge,
            left_out::Arrivals,
            lock, mounts,
        },
        renames,
        roots::{is_code, system, without_deleted},
    },
    object::FileMode,
    target::Target,
};

/// Pairs of files whose contents are compared to find renames; git's limit is as large.
const RENAME_PAIRS: usize = 1000 * 1000;

/// Files above this size are no source that was renamed and changed.
const RENAME_SIZE: u64 = 1 << 20;

/// The largest list of installed packages.
const LIST_SIZE: usize = 64 << 20;
/// As many lists of packages are read, or descriptions of one each.
const LISTS: usize = 4000;
/// As many of them at once.
const AT_ONCE: usize = 32;

/// A difference that is noise.
pub(super) struct NoiseRow {
    pub(super) noise: Noise,
    pub(super) difference: Difference,
}

/// What became of the differences.
#[derive(Default)]
pub(super) struct Judgement {
    /// The real ones, by path.
    pub(super) real: Vec<Difference>,
    /// The others, by class and path.
    pub(super) noise: Vec<NoiseRow>,
    pub(super) findings: Vec<Finding>,
    /// Ends of the names of sources that were compiled.
    pub(super) compiled: Vec<BString>,
    /// The volume that the code lies on.
    pub(super) on_volume: Vec<String>,
}

/// What a judgement is made from.
pub(super) struct Case<'a> {
    pub(super) target: &'a Target,
    pub(super) reference: &'a Reference,
    pub(super) tree: &'a [ReferenceFile],
    pub(super) running: &'a RunningTree,
    pub(super) mappings: &'a [Mapping],
    pub(super) facts: &'a TargetFacts,
    pub(super) max_file_size: u64,
    /// What was changed after this was changed after the process started: nanoseconds since 1970.
    pub(super) late: i64,
}

impl Case<'_> {
    /// Judges all differences of a comparison, which has none any more then.
    pub(super) async fn judge(
        &self,
        comparison: &mut Comparison,
        cache: &mut Cache,
    ) -> Result<Judgement, CommandError> {
        let mut judgement = Judgement::default();
        let rules = self.rules(&mut judgement).await?;
        let mut differences = std::mem::take(&mut comparison.differences);
        for (difference, because) in renames::exact(&mut differences) {
            let noise = Noise::new(Class::Moved, because);
            judgement.noise.push(NoiseRow { noise, difference });
        }
        let differences = self.by_path(differences, &rules, &mut judgement);
        self.by_content(differences, &rules, &mut judgement, cache)
            .await?;
        self.renamed_and_changed(&mut judgement, cache).await?;
        Self::not_compared(comparison, &mut judgement);
        self.find(comparison, &mut judgement);
        self.packages(&mut judgement).await?;
        judgement.noise.sort_by(|left, right| {
            (left.noise.class, &left.difference.path)
                .cmp(&(right.noise.class, &right.difference.path))
        });
        Ok(judgement)
    }

    /// Reads the rules of the repository, as the ref has them.
    async fn rules(&self, judgement: &mut Judgement) -> Result<Rules, CommandError> {
        let wanted: Vec<&ReferenceFile> = self
            .tree
            .iter()
            .filter(|file| {
                let path: &BStr = file.path.as_ref();
                file.version.mode != FileMode::Symlink
                    && (ignored::is_ignore_file(path) || attributes::is_attributes_file(path))
            })
            .collect();
        let ids = wanted.iter().map(|file| file.version.id).collect();
        let contents = self.reference.blobs(ids).await?;
        let files: Vec<(BString, Vec<u8>)> = wanted
            .iter()
            .zip(contents)
            .filter_map(|(file, content)| Some((file.path.clone(), content.ok()?)))
            .collect();
        let (attributes, ignores): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|(path, _)| attributes::is_attributes_file(path.as_ref()));
        let roots = self.running.root_paths();
        judgement.on_volume = roots
            .iter()
            .filter_map(|root| {
                let mount = mounts::holding(root.as_ref(), &self.facts.mounts)?;
                Some(format!(
                    "`{}` is not from the image: {mount}",
                    crate::render::safe(root)
                ))
            })
            .collect();
        Ok(Rules {
            attributes: Attributes::new(&attributes),
            ignored: Ignored::new(&ignores),
            mounts: mounts::below(self.facts.mounts.clone(), &roots),
            packages: facts::packaged_files(self.target, &roots).await?,
        })
    }

    /// Takes out what its path and its surroundings explain.
    fn by_path(
        &self,
        differences: Vec<Difference>,
        rules: &Rules,
        judgement: &mut Judgement,
    ) -> Vec<Difference> {
        let missing: HashSet<&BStr> = differences
            .iter()
            .filter(|difference| difference.running.is_none())
            .map(|difference| difference.path.as_ref())
            .collect();
        let in_scope = |path: &BStr| {
            self.mappings
                .iter()
                .any(|mapping| mapping.running_path(path).is_some())
        };
        let has_arrived = |path: &BStr| in_scope(path) && !missing.contains(path);
        let arrivals = Arrivals::new(self.tree, self.mappings, &has_arrived);
        let surroundings = Surroundings {
            reference_folders: folders(self.tree),
            reference_files: self.tree.iter().map(|file| file.path.as_ref()).collect(),
            ignored: &rules.ignored,
            attributes: &rules.attributes,
            mounts: &rules.mounts,
            arrivals: &arrivals,
            packages: &rules.packages,
        };
        let mut noise = Vec::with_capacity(differences.len());
        for difference in &differences {
            let would_run = self.would_run(difference.path.as_ref());
            noise.push(judge(
                difference,
                would_run.as_ref().map(AsRef::as_ref),
                &surroundings,
            ));
        }
        judgement.compiled = arrivals.compiled();
        let mut left = Vec::new();
        for (difference, noise) in differences.into_iter().zip(noise) {
            match noise {
                Some(noise) => judgement.noise.push(NoiseRow { noise, difference }),
                None => left.push(difference),
            }
        }
        left
    }

    /// Where a path of the repository would run, by the innermost mapping.
    fn would_run(&self, path: &BStr) -> Option<BString> {
        self.mappings
            .iter()
            .filter_map(|mapping| Some((mapping.repository.len(), mapping.running_path(path)?)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, path)| path)
    }

    /// Takes out what is the same content in another form.
    async fn by_content(
        &self,
        differences: Vec<Difference>,
        rules: &Rules,
        judgement: &mut Judgement,
        cache: &mut Cache,
    ) -> Result<(), CommandError> {
        let (changed, others): (Vec<_>, Vec<_>) = differences.into_iter().partition(|difference| {
            let files = |mode| mode != FileMode::Symlink && mode != FileMode::Gitlink;
            difference.reference.is_some_and(|old| files(old.mode))
                && difference
                    .running
                    .as_ref()
                    .is_some_and(|new| files(new.version.mode))
        });
        let reader = self.reader();
        for difference in others {
            if self
                .is_program(&difference, judgement, &reader, cache)
                .await?
            {
                let noise = Noise::new(
                    Class::Compiled,
                    "a program that the sources were compiled to",
                );
                judgement.noise.push(NoiseRow { noise, difference });
            } else {
                judgement.real.push(difference);
            }
        }
        for portion in changed.chunks(super::contents::PORTION) {
            let contents = reader.read(portion, cache).await?;
            for (difference, sides) in portion.iter().zip(contents) {
                let noise = sides.ok().and_then(|(old, new)| {
                    let attributes = rules.attributes.of(difference.path.as_ref());
                    attributes::same_content(&old?.content, &new?.content, &attributes)
                });
                match noise {
                    Some(noise) => judgement.noise.push(NoiseRow {
                        noise,
                        difference: difference.clone(),
                    }),
                    None => judgement.real.push(difference.clone()),
                }
            }
        }
        judgement
            .real
            .sort_by(|left, right| left.path.cmp(&right.path));
        Ok(())
    }

    /// Whether a file that only runs is what a compiler has made of the repository: the program of the process
    /// itself, or another one where sources were compiled.
    async fn is_program(
        &self,
        difference: &Difference,
        judgement: &Judgement,
        reader: &Reader<'_>,
        cache: &mut Cache,
    ) -> Result<bool, CommandError> {
        let (None, Some(file)) = (&difference.reference, &difference.running) else {
            return Ok(false);
        };
        let executable = self.target.process().executable.known();
        if executable.is_some_and(|path| *path == file.path) {
            return Ok(true);
        }
        if judgement.compiled.is_empty() || file.version.mode != FileMode::Executable {
            return Ok(false);
        }
        let contents = reader.read(std::slice::from_ref(difference), cache).await?;
        let content = contents.into_iter().next().and_then(Result::ok);
        Ok(content
            .and_then(|(_, new)| new)
            .is_some_and(|blob| blob.content.starts_with(b"\x7fELF")))
    }

    /// Finds, among what is missing and what is new, files that were renamed and changed.
    async fn renamed_and_changed(
        &self,
        judgement: &mut Judgement,
        cache: &mut Cache,
    ) -> Result<(), CommandError> {
        let is_file = |mode| mode != FileMode::Symlink && mode != FileMode::Gitlink;
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for difference in &judgement.real {
            match (&difference.reference, &difference.running) {
                (Some(old), None) if is_file(old.mode) => gone.push(difference.clone()),
                (None, Some(file)) if is_file(file.version.mode) && file.size <= RENAME_SIZE => {
                    new.push(difference.clone());
                }
                _ => {}
            }
        }
        if gone.is_empty() || new.is_empty() || gone.len() * new.len() > RENAME_PAIRS {
            return Ok(());
        }
        let reader = self.reader();
        let old_contents = reader.read(&gone, cache).await?;
        let new_contents = reader.read(&new, cache).await?;
        let pieces = |blob: Option<crate::diff::Blob>| blob.map(|blob| blob.content);
        let old: Vec<_> = gone
            .iter()
            .zip(old_contents)
            .filter_map(|(difference, sides)| {
                Some((difference.path.clone(), pieces(sides.ok()?.0)?))
            })
            .collect();
        let new: Vec<_> = new
            .iter()
            .zip(new_contents)
            .filter_map(|(difference, sides)| {
                Some((difference.path.clone(), pieces(sides.ok()?.1)?))
            })
            .collect();
        let found = renames::similar(&old, &new);
        let versions: HashMap<BString, _> = judgement
            .real
            .iter()
            .filter_map(|difference| Some((difference.path.clone(), difference.reference?)))
            .collect();
        let origins: HashSet<&BString> =
            found.values().map(|origin: &Origin| &origin.path).collect();
        judgement.real.retain(|difference| {
            difference.running.is_some() || !origins.contains(&difference.path)
        });
        for difference in &mut judgement.real {
            if difference.reference.is_none()
                && let Some(origin) = found.get(&difference.path)
            {
                difference.reference = versions.get(&origin.path).copied();
                difference.origin = Some(origin.clone());
                cache.forget(difference.path.as_ref());
            }
        }
        Ok(())
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            target: self.target,
            reference: self.reference,
            running: self.running,
            limit: self.max_file_size,
        }
    }

    /// Lists what was not compared at all.
    fn not_compared(comparison: &mut Comparison, judgement: &mut Judgement) {
        let mut add = |noise: Noise, file: RunningFile| {
            judgement.noise.push(NoiseRow {
                noise,
                difference: Difference {
                    path: file.path.clone(),
                    reference: None,
                    running: Some(file),
                    origin: None,
                },
            });
        };
        for file in std::mem::take(&mut comparison.in_submodules) {
            add(
                Noise::new(Class::Submodule, "its files are in another repository"),
                file,
            );
        }
        for file in &comparison.outside {
            add(
                Noise::new(Class::Unmapped, "below no folder of the repository"),
                file.clone(),
            );
        }
    }

    /// Names what is changed below the running process.
    fn find(&self, comparison: &mut Comparison, judgement: &mut Judgement) {
        let started = self.target.process().started_at;
        for (path, file) in std::mem::take(&mut comparison.equal_but_late) {
            judgement.findings.push(Finding::ChangedAfterStart {
                path,
                running: file.path,
                changed: file.changed,
                started,
                is_equal: true,
            });
        }
        let noise = judgement
            .noise
            .iter()
            .filter(|row| is_code_all_the_same(row))
            .map(|row| &row.difference);
        let mut findings = Vec::new();
        for difference in judgement.real.iter().chain(noise) {
            findings.extend(self.late(difference, started));
        }
        judgement.findings.extend(findings);
        for (path, file) in std::mem::take(&mut comparison.copies) {
            judgement.findings.push(Finding::OtherCopy {
                path,
                running: file.path,
            });
        }
        judgement.findings.extend(self.deleted_in_use());
    }

    /// Compares the installed packages with the lock files of the repository that lie within the mappings.
    async fn packages(&self, judgement: &mut Judgement) -> Result<(), CommandError> {
        let locks: Vec<&ReferenceFile> = self
            .tree
            .iter()
            .filter(|file| {
                let path: &BStr = file.path.as_ref();
                lock::is_lock_file(path) && self.would_run(path).is_some()
            })
            .collect();
        if locks.is_empty() {
            return Ok(());
        }
        let is_yarn = locks
            .iter()
            .any(|file| lock::is_of_yarn(file.path.as_ref()));
        let installed = self.installed(judgement, is_yarn).await?;
        let ids = locks.iter().map(|file| file.version.id).collect();
        let contents = self.reference.blobs(ids).await?;
        for (file, content) in locks.iter().zip(contents) {
            let Ok(content) = content else { continue };
            let locked = lock::locked(file.path.as_ref(), &content);
            let mismatches = lock::mismatches(&locked, &installed).into_iter();
            judgement
                .findings
                .extend(
                    mismatches.map(|(package, locked, installed)| Finding::OtherVersion {
                        package,
                        locked,
                        installed,
                        lock: file.path.clone(),
                    }),
                );
        }
        Ok(())
    }

    /// The versions of the packages that are installed, by the names of their files and by the lists of them.
    async fn installed(
        &self,
        judgement: &Judgement,
        one_by_one: bool,
    ) -> Result<lock::Versions, CommandError> {
        let mut installed = lock::Versions::new();
        let mut lists = Vec::new();
        let paths = judgement
            .noise
            .iter()
            .filter_map(|row| Some(&row.difference.running.as_ref()?.path));
        for path in paths {
            lock::installed_at(path.as_ref(), &mut installed);
            let describes_one = || one_by_one && lock::describes_installed(path.as_ref());
            if lock::lists_installed(path.as_ref()) || describes_one() {
                lists.push(path.clone());
            }
        }
        lists.truncate(LISTS);
        let mut contents = stream::iter(lists)
            .map(async |path| {
                (
                    facts::read(self.target, path.clone(), LIST_SIZE).await,
                    path,
                )
            })
            .buffered(AT_ONCE);
        while let Some((content, path)) = contents.next().await {
            match content {
                Ok(content) => lock::installed_in(path.as_ref(), &content, &mut installed),
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => tracing::debug!(%error, "a list of packages could not be read"),
            }
        }
        Ok(installed)
    }

    fn late(&self, difference: &Difference, started: i64) -> Option<Finding> {
        let path = difference.path.clone();
        if let Some(file) = &difference.running {
            return (file.changed > self.late).then(|| Finding::ChangedAfterStart {
                path,
                running: file.path.clone(),
                changed: file.changed,
                started,
                is_equal: false,
            });
        }
        let running = self.would_run(difference.path.as_ref())?;
        let changed = self.running.late_folder_of(running.as_ref())?;
        Some(Finding::DeletedAfterStart {
            path,
            running,
            changed,
            started,
        })
    }

    /// Code that the process still runs and that has no name any more.
    fn deleted_in_use(&self) -> Vec<Finding> {
        let maps = self.facts.maps.as_deref().unwrap_or_default();
        let mapped = crate::evidence::roots::mapped_files(maps);
        let open = self.facts.open_files.iter().cloned();
        let executable = self.target.process().executable.known().cloned();
        let mut seen = HashSet::new();
        mapped
            .into_iter()
            .chain(open)
            .map(|name| (name, false))
            .chain(executable.map(|name| (name, true)))
            .filter(|(name, is_program)| {
                let path = without_deleted(name.as_ref());
                facts::is_deleted(name.as_ref())
                    && (*is_program || (is_code(path) && !system::is_system(path)))
            })
            .map(|(name, _)| without_deleted(name.as_ref()).to_owned())
            .filter(|path| seen.insert(path.clone()))
            .map(|running| Finding::DeletedInUse { running })
            .collect()
    }
}

/// Whether noise is code that the process runs: a package that somebody edits in the container is a hot patch too.
fn is_code_all_the_same(row: &NoiseRow) -> bool {
    match row.noise.class {
        Class::Attributes | Class::Moved => true,
        Class::Dependency => row.difference.running.as_ref().is_some_and(|file| {
            let is_cache = file.path.contains_str("/.cache/") || file.path.ends_with(b".pyc");
            is_code(file.path.as_ref()) && !is_cache
        }),
        _ => false,
    }
}

/// The repository's own rules, and the target's mounts and packages.
struct Rules {
    attributes: Attributes,
    ignored: Ignored,
    mounts: Vec<mounts::Mount>,
    packages: HashSet<BString>,
}
