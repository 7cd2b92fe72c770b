//! What is asked of the target before its code is walked: where that lies, and what is mounted over it.

use std::{collections::HashSet, path::PathBuf};

use bstr::{BStr, BString, ByteSlice as _};
use futures::{StreamExt as _, stream};

use super::fetch::is_final;
use crate::{
    evidence::{
        noise::mounts::{self, Mount},
        packages,
        roots::{Answers, Candidates, Facts, Questions, Root, Why, system},
    },
    protocol::message::{Entry, FileHead, HeldBy, HeldFile, ProcFile, Request},
    session::{Reply, RequestError},
    target::{Place, Target},
};

/// The most that is read of a configuration, an environment or a table of the kernel.
const LIMIT: usize = 8 << 20;

/// The same of a database of packages: rpm's has the descriptions of all of them in it.
const DATABASE_LIMIT: usize = 128 << 20;

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// How deep configurations may include others.
const ROUNDS: usize = 6;

/// Lists of packages that are read at most.
const PACKAGE_LIMIT: usize = 4000;

/// Facts of the process. What could not be read is `None` or empty: it gives no root, and hides none that is known.
pub(super) struct TargetFacts {
    environment: Option<Vec<u8>>,
    pub(super) maps: Option<Vec<u8>>,
    pub(super) mounts: Vec<Mount>,
    /// What it holds by a descriptor.
    pub(super) open_files: Vec<BString>,
}

/// Asks for the facts, all at once.
pub(super) async fn fetch(target: &Target) -> Result<TargetFacts, RequestError> {
    let process = target.process().id;
    let file = |file| Request::ProcFile { process, file };
    let (environment, maps, mountinfo, open_files) = tokio::join!(
        bytes(target, Request::Environment(process)),
        bytes(target, file(ProcFile::Maps)),
        bytes(target, file(ProcFile::Mountinfo)),
        held(target),
    );
    Ok(TargetFacts {
        environment: unless_final(environment)?,
        maps: unless_final(maps)?,
        mounts: unless_final(mountinfo)?
            .map(|table| mounts::named(mounts::parse(&table), declared(target)))
            .unwrap_or_default(),
        open_files: unless_final(open_files)?
            .unwrap_or_default()
            .into_iter()
            .filter(|file| matches!(file.by, HeldBy::Descriptor(_)))
            .filter_map(|file| file.name.known().cloned())
            .collect(),
    })
}

/// The volumes that the pod of a target declares; none on this machine.
fn declared(target: &Target) -> &[Mount] {
    match &target.place {
        Place::Machine(_) => &[],
        Place::Pod(place) => &place.volumes,
    }
}

/// The roots that the user named, else those that are found.
pub(super) async fn asked_or_found(
    target: &Target,
    asked: &[PathBuf],
) -> Result<Vec<Root>, RequestError> {
    if asked.is_empty() {
        return roots(target, &fetch(target).await?).await;
    }
    let roots = asked.iter().map(|path| Root {
        path: super::target_path(path.clone().into_os_string()),
        why: Why::Asked,
        is_guess: false,
    });
    Ok(roots.collect())
}

/// Finds the roots: reads them off the facts, and asks once more for what some of them need.
pub(super) async fn roots(target: &Target, facts: &TargetFacts) -> Result<Vec<Root>, RequestError> {
    let process = target.process();
    let mut candidates = Candidates::of(&Facts {
        process,
        processes: &target.processes,
        environment: facts.environment.as_deref(),
        maps: facts.maps.as_deref(),
        open_files: &facts.open_files,
    });
    let mut answers = Answers::default();
    ask(target, candidates.questions(), &mut answers).await?;
    for _ in 0..ROUNDS {
        let further = candidates.further_questions(&answers);
        if further == Questions::default() {
            break;
        }
        ask(target, further, &mut answers).await?;
    }
    let folder = process.folder.known().map(|folder| folder.as_bstr());
    Ok(candidates.settle(&answers, folder))
}

/// Finds out what is asked, all at once. What is not there gets no answer.
async fn ask(
    target: &Target,
    questions: Questions,
    answers: &mut Answers,
) -> Result<(), RequestError> {
    let contents = stream::iter(questions.contents).map(|path| async move {
        let content = read(target, path.clone(), LIMIT).await;
        (path, content)
    });
    let existence = stream::iter(questions.existence).map(|path| async move {
        let exists = exists(target, path.clone()).await;
        (path, exists)
    });
    let listings = stream::iter(questions.listings).map(|path| async move {
        let entries = list(target, path.clone()).await;
        (path, entries)
    });
    let (contents, existence, listings) = tokio::join!(
        contents.buffered(AT_ONCE).collect::<Vec<_>>(),
        existence.buffered(AT_ONCE).collect::<Vec<_>>(),
        listings.buffered(AT_ONCE).collect::<Vec<_>>()
    );
    for (path, content) in contents {
        if let Some(content) = unless_final(content)? {
            answers.contents.insert(path, content);
        }
    }
    for (path, exists) in existence {
        if unless_final(exists)?.unwrap_or(false) {
            answers.existing.push(path);
        }
    }
    for (path, entries) in listings {
        let entries = unless_final(entries)?.unwrap_or_default();
        let names = entries.into_iter().map(|entry| entry.path).collect();
        answers.listings.insert(path, names);
    }
    Ok(())
}

/// The files of the distribution's packages, when a root lies where those are.
pub(super) async fn packaged_files(
    target: &Target,
    roots: &[BString],
) -> Result<HashSet<BString>, RequestError> {
    let mut files = HashSet::new();
    if !roots
        .iter()
        .any(|root| system::needs_packages(root.as_ref()))
    {
        return Ok(files);
    }
    for database in packages::APK_DATABASES {
        if let Some(content) = unless_final(read(target, database.into(), LIMIT).await)? {
            return Ok(packages::apk_files(&content));
        }
    }
    for database in packages::RPM_DATABASES {
        let content = read(target, database.into(), DATABASE_LIMIT).await;
        if let Some(content) = unless_final(content)? {
            if let Err(error) = packages::rpm_files(&content, &mut files) {
                tracing::warn!(database, %error, "convention decides which files are the distribution's");
            }
            return Ok(files);
        }
    }
    dpkg_files(target, &mut files).await?;
    Ok(files)
}

async fn dpkg_files(target: &Target, files: &mut HashSet<BString>) -> Result<(), RequestError> {
    let folder = BString::from(packages::DPKG_FOLDER);
    let Some(entries) = unless_final(list(target, folder.clone()).await)? else {
        return Ok(());
    };
    let lists = entries
        .into_iter()
        .filter(|entry| entry.path.ends_with(b".list"))
        .take(PACKAGE_LIMIT)
        .map(|entry| crate::evidence::mapping::join(folder.as_ref(), entry.path.as_ref()));
    let mut contents = stream::iter(lists)
        .map(|path| read(target, path, LIMIT))
        .buffered(AT_ONCE);
    while let Some(content) = contents.next().await {
        if let Some(content) = unless_final(content)? {
            packages::dpkg_files(&content, files);
        }
    }
    Ok(())
}

/// Reads a file of the target, at most so many bytes of it.
pub(super) async fn read(
    target: &Target,
    path: BString,
    limit: usize,
) -> Result<Vec<u8>, RequestError> {
    let process = target.process().id;
    let mut reply = target
        .session
        .request(&Request::ReadFile { process, path })?;
    let _: FileHead = reply.head().await?;
    reply.bytes(limit).await
}

/// What the process holds.
pub(super) async fn held(target: &Target) -> Result<Vec<HeldFile>, RequestError> {
    let request = Request::Files(target.process().id);
    target.session.request(&request)?.records().await
}

async fn exists(target: &Target, path: BString) -> Result<bool, RequestError> {
    let process = target.process().id;
    let mut reply = target.session.request(&Request::List { process, path })?;
    let _: Entry = reply.head().await?;
    Ok(true)
}

async fn list(target: &Target, path: BString) -> Result<Vec<Entry>, RequestError> {
    let process = target.process().id;
    let mut reply = target.session.request(&Request::List { process, path })?;
    let _: Entry = reply.head().await?;
    reply.records().await
}

async fn bytes(target: &Target, request: Request) -> Result<Vec<u8>, RequestError> {
    let mut reply: Reply = target.session.request(&request)?;
    reply.bytes(LIMIT).await
}

/// What cannot be read is not known; when the process or the conversation has ended, nothing will be.
fn unless_final<T>(result: Result<T, RequestError>) -> Result<Option<T>, RequestError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_final(&error) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "a fact of the process could not be read");
            Ok(None)
        }
    }
}

/// Whether a path has no name any more while the process still uses it.
pub(super) fn is_deleted(name: &BStr) -> bool {
    name.ends_with(b" (deleted)")
}
