//! From the repository and the running files to what people want to know.

use std::sync::Arc;

use bstr::{BStr, BString};

use crate::{
    cli::{error::CommandError, progress::Progress},
    commands::repository::{Cancel, blocking},
    evidence::fit::{
        AheadBehind, Answer, FileFit, Fit, FolderPair, NamedTip, Range, RefNames, RunningFile,
        Search, TreeFit, names_of,
    },
    git::{self, Commit, GitError, HistoryOptions, HistoryStep, Repository, Tips},
    history::History,
    object::ObjectId,
};

/// What is asked.
pub(super) struct Question {
    /// The ref that should be running, as it was asked for.
    pub(super) reference: Option<String>,
    /// The same when it is known already, with its name for people.
    pub(super) resolved: Option<(String, Commit)>,
    /// The names of the refs that are searched.
    pub(super) refs: Option<String>,
    /// Whether the history that was read is kept.
    pub(super) keeps: bool,
}

/// The side of the repository, ready to be searched.
pub(in crate::commands) struct Prepared {
    pub(super) history: History,
    tips: Tips,
    /// The ref that should be running, with its name for people.
    pub(super) reference: Option<(String, Commit)>,
    /// What the user should know.
    pub(in crate::commands) notices: Vec<String>,
}

/// What a search has found.
pub(in crate::commands) struct Found {
    pub(in crate::commands) running: Vec<RunningFile>,
    pub(super) fit: Fit,
    /// The ref that should be running, with its name for people.
    pub(super) reference: Option<(String, Commit)>,
    /// The answers, the best first.
    pub(super) answers: Vec<Described>,
    /// The best of the commits that the reference leads to.
    pub(super) on_reference: Option<Described>,
    /// How many refs were searched, and how many could not be read.
    pub(super) refs: (usize, usize),
    /// Whether older commits are not in the repository.
    pub(super) is_shallow: bool,
}

/// An answer with all that is said of it.
pub(super) struct Described {
    pub(super) range: Range,
    pub(super) oldest: Commit,
    pub(super) newest: Commit,
    /// Whether the ref that should be running is one of its commits.
    pub(super) holds_reference: bool,
    pub(super) names: RefNames,
    /// The commits of the refs that are one of them.
    pub(super) tree: TreeFit,
    pub(super) missing: Vec<BString>,
    pub(super) apart: Option<AheadBehind>,
    /// Whether it rests on more than what lies everywhere.
    pub(super) is_evidence: bool,
    /// Equal weight as the answer before it: the search does not prefer it by files.
    rank: (u32, u32),
}

/// Reads the refs and the history.
pub(super) async fn prepare(
    repository: &Arc<Repository>,
    question: Question,
    progress: &Progress,
) -> Result<Prepared, CommandError> {
    let cancel = Cancel::default();
    let flag = cancel.flag();
    let (repository, progress) = (Arc::clone(repository), progress.clone());
    blocking(move || {
        let mut notices = Vec::new();
        let reference = match question.resolved {
            Some(resolved) => Some(resolved),
            None => reference(&repository, question.reference, &mut notices)?,
        };
        let tips = repository.tips(question.refs.as_deref())?;
        if tips.tips.is_empty()
            && let Some(pattern) = &question.refs
        {
            return Err(GitError::NoSuchRefs {
                pattern: pattern.clone(),
                path: repository.display_path().to_owned(),
            });
        }
        let mut ids: Vec<ObjectId> = tips.tips.iter().map(|tip| tip.id).collect();
        ids.extend(reference.as_ref().map(|(_, commit)| commit.id));
        let cache = git::default_cache_dir().ok().filter(|_| question.keeps);
        let options = HistoryOptions {
            cache_dir: cache.as_deref(),
            cancel: &flag,
        };
        let say = |step: HistoryStep| {
            progress.say(match step {
                HistoryStep::Finding(count) => format!("reading the history: {count} commits"),
                HistoryStep::Comparing(done, total) => {
                    format!("reading the history: {done} of {total} commits")
                }
            });
        };
        let read = repository.history(&ids, &options, &say)?;
        Ok(Prepared {
            history: read.history,
            tips,
            reference,
            notices,
        })
    })
    .await
}

/// The ref that should be running. That there is no default one is no reason to fail.
fn reference(
    repository: &Repository,
    asked: Option<String>,
    notices: &mut Vec<String>,
) -> Result<Option<(String, Commit)>, GitError> {
    if let Some(asked) = asked {
        let commit = repository.resolve(&asked)?;
        notices.extend(commit.notice.clone());
        return Ok(Some((asked, commit)));
    }
    match repository.default_ref() {
        Ok(default) => {
            notices.push(format!(
                "the ref that should be running is `{}`, {}",
                default.name,
                default.reason.as_str()
            ));
            let commit = repository.resolve(&default.full_name)?;
            Ok(Some((default.name, commit)))
        }
        Err(error @ GitError::EmptyRepository { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Searches, and describes what was found. Pairs of folders that are known may be given; none has them found.
pub(in crate::commands) async fn find(
    repository: &Arc<Repository>,
    prepared: &Arc<Prepared>,
    running: Vec<RunningFile>,
    pinned: Vec<FolderPair>,
) -> Result<Found, CommandError> {
    let (repository, prepared) = (Arc::clone(repository), Arc::clone(prepared));
    blocking(move || {
        let history = &prepared.history;
        let numbers = history.numbers();
        let tips: Vec<NamedTip> = prepared
            .tips
            .tips
            .iter()
            .filter_map(|tip| {
                Some(NamedTip {
                    name: tip.name.clone(),
                    commit: *numbers.get(&commit_of(&repository, &numbers, tip.id))?,
                })
            })
            .collect();
        let reference = prepared
            .reference
            .as_ref()
            .and_then(|(_, commit)| numbers.get(&commit.id).copied());
        let starts: Vec<u32> = tips.iter().map(|tip| tip.commit).collect();
        let fit = Search {
            history,
            running: &running,
            tips: &starts,
            reference,
            pinned: &pinned,
        }
        .run();
        let describe = |answer: &Answer| {
            Describing {
                repository: &repository,
                history,
                tips: &tips,
                reference,
                fit: &fit,
                running: &running,
            }
            .answer(answer)
        };
        let answers = fit
            .answers
            .iter()
            .filter_map(|answer| describe(answer).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let on_reference = match &fit.on_reference {
            Some(answer) => describe(answer)?,
            None => None,
        };
        Ok(Found {
            answers,
            on_reference,
            refs: (prepared.tips.tips.len(), prepared.tips.broken),
            is_shallow: repository.is_shallow(),
            fit,
            running,
            reference: prepared.reference.clone(),
        })
    })
    .await
}

/// A tag leads to a commit; a commit is one.
fn commit_of(
    repository: &Repository,
    numbers: &std::collections::HashMap<ObjectId, u32>,
    id: ObjectId,
) -> ObjectId {
    if numbers.contains_key(&id) {
        return id;
    }
    repository
        .resolve(&id.to_string())
        .map_or(id, |commit| commit.id)
}

struct Describing<'a> {
    repository: &'a Repository,
    history: &'a History,
    tips: &'a [NamedTip],
    reference: Option<u32>,
    fit: &'a Fit,
    running: &'a [RunningFile],
}

impl Describing<'_> {
    fn answer(&self, answer: &Answer) -> Result<Option<Described>, GitError> {
        let Some(range) = Range::of(self.history, &answer.commits, self.reference) else {
            return Ok(None);
        };
        let commit = |number: u32| match self.history.commit_id(number) {
            Some(id) => self.repository.resolve(&id.to_string()),
            None => Err(GitError::EmptyRepository {
                path: self.repository.display_path().to_owned(),
            }),
        };
        let newest = commit(range.newest)?;
        let entries = self.repository.tree(&newest, BStr::new(""))?;
        let entries: Vec<(BString, ObjectId)> = entries
            .into_iter()
            .map(|entry| (entry.path, entry.id))
            .collect();
        Ok(Some(Described {
            oldest: commit(range.oldest)?,
            holds_reference: self
                .reference
                .is_some_and(|number| answer.commits.contains(&number)),
            names: names_of(self.history, &answer.commits, self.tips),
            tree: self.fit.tree(self.running, &entries),
            missing: self.fit.missing(&entries),
            apart: self
                .reference
                .map(|reference| AheadBehind::of(self.history, range.newest, reference)),
            is_evidence: Fit::is_evidence(answer),
            rank: (answer.score, answer.missing),
            newest,
            range,
        }))
    }
}

impl Found {
    /// Which running folder is which folder of the repository; none when no commit fits.
    pub(in crate::commands) fn folders(&self) -> Vec<FolderPair> {
        let fits = self.answers.first().is_some_and(|best| best.is_evidence);
        if fits {
            self.fit.proven().cloned().collect()
        } else {
            Vec::new()
        }
    }
}

impl Described {
    /// Whether the files prefer neither.
    pub(super) fn is_as_good_as(&self, other: &Self) -> bool {
        self.rank == other.rank
    }

    /// How many of the equal files are equal only once a conversion is taken back.
    pub(super) fn converted(&self, running: &[RunningFile]) -> usize {
        // Other names are added only to files that are not equal as they are.
        let files = running.iter().zip(&self.tree.files);
        files
            .filter(|(file, fit)| file.ids.len() > 1 && matches!(fit, FileFit::Equal(_)))
            .count()
    }

    /// Running files that are not as the commit has them, as the process sees them.
    pub(super) fn dirty<'a>(
        &'a self,
        running: &'a [RunningFile],
    ) -> impl Iterator<Item = (&'a RunningFile, &'a FileFit)> {
        running
            .iter()
            .zip(&self.tree.files)
            .filter(|(_, fit)| matches!(fit, FileFit::Differs(_) | FileFit::Absent(_)))
    }
}
