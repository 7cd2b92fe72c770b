//! The history of a repository as plain data: which commit changed which path from which blob to which.
//!
//! Made by `git::history`, read by `evidence::fit`. Nothing here does I/O. Commits stand in an order in which
//! every parent comes before its children, so that one pass from the front sees each state before it is
//! needed. A commit's changes are those against *one* of its parents, its base; the tree of the base with
//! these changes is the tree of the commit, whichever parent that is.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice as _};

use crate::object::{HashKind, ObjectId};

/// No commit, no blob: the side of a change that is not there.
const NONE: u32 = u32::MAX;

/// Commits with their changes, paths and blobs by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    kind: HashKind,
    commits: Vec<Row>,
    commit_ids: Vec<u8>,
    parents: Vec<u32>,
    changes: Vec<Change>,
    path_bytes: Vec<u8>,
    path_ends: Vec<u32>,
    blob_ids: Vec<u8>,
}

/// What is kept of a commit; its parents and changes end where the next one's begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    time: i64,
    base: u32,
    parents_end: u32,
    changes_end: u32,
}

/// A path whose blob differs from the base's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The number of the path.
    pub path: u32,
    old: u32,
    new: u32,
}

impl Change {
    /// The number of the blob in the base; `None` when the path is new.
    pub const fn before(self) -> Option<u32> {
        if self.old == NONE {
            None
        } else {
            Some(self.old)
        }
    }

    /// The number of the blob in the commit; `None` when the path is gone.
    pub const fn after(self) -> Option<u32> {
        if self.new == NONE {
            None
        } else {
            Some(self.new)
        }
    }

    /// A change from its numbers.
    pub fn of(path: u32, old: Option<u32>, new: Option<u32>) -> Self {
        Self {
            path,
            old: old.unwrap_or(NONE),
            new: new.unwrap_or(NONE),
        }
    }
}

/// A commit of the history.
#[derive(Clone, Copy, Debug)]
pub struct CommitView<'a> {
    /// Its number: that of every parent is smaller.
    pub number: u32,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    /// The numbers of its parents, in git's order. A shallow clone knows none of its oldest commits'.
    pub parents: &'a [u32],
    /// The parent that the changes are against; `None`: against nothing.
    pub base: Option<u32>,
    /// Its changes, each path once.
    pub changes: &'a [Change],
}

/// A commit to be added.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// Its name.
    pub id: ObjectId,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    /// The numbers of its parents.
    pub parents: Vec<u32>,
    /// The parent that the changes are against.
    pub base: Option<u32>,
    /// Paths with the blobs on both sides.
    pub changes: Vec<(BString, Option<ObjectId>, Option<ObjectId>)>,
}

/// The history has more commits, paths, blobs or changes than numbers of 32 bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history is too large")]
pub struct TooLarge;

impl History {
    /// A history without commits.
    #[must_use]
    pub const fn new(kind: HashKind) -> Self {
        Self {
            kind,
            commits: Vec::new(),
            commit_ids: Vec::new(),
            parents: Vec::new(),
            changes: Vec::new(),
            path_bytes: Vec::new(),
            path_ends: Vec::new(),
            blob_ids: Vec::new(),
        }
    }

    /// The hash function of the names.
    #[must_use]
    pub const fn kind(&self) -> HashKind {
        self.kind
    }

    /// How many commits there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// How many changes all commits have.
    #[must_use]
    pub const fn change_count(&self) -> usize {
        self.changes.len()
    }

    /// How many paths were ever there.
    #[must_use]
    pub const fn path_count(&self) -> usize {
        self.path_ends.len()
    }

    /// How many different contents were ever there.
    #[must_use]
    pub const fn blob_count(&self) -> usize {
        self.blob_ids.len() / self.digest_length()
    }

    /// The commits, parents before children.
    pub fn commits(&self) -> impl Iterator<Item = CommitView<'_>> {
        let (mut parents, mut changes) = (0, 0);
        (0..).zip(&self.commits).map(move |(number, row)| {
            let view = self.view(number, row, parents, changes);
            (parents, changes) = (row.parents_end, row.changes_end);
            view
        })
    }

    /// One commit.
    #[must_use]
    pub fn commit(&self, number: u32) -> Option<CommitView<'_>> {
        let row = self.commits.get(number as usize)?;
        let before = (number as usize)
            .checked_sub(1)
            .and_then(|before| self.commits.get(before));
        let (parents, changes) = before.map_or((0, 0), |row| (row.parents_end, row.changes_end));
        Some(self.view(number, row, parents, changes))
    }

    fn view(&self, number: u32, row: &Row, parents: u32, changes: u32) -> CommitView<'_> {
        CommitView {
            number,
            time: row.time,
            parents: self
                .parents
                .get(parents as usize..row.parents_end as usize)
                .unwrap_or_default(),
            base: (row.base != NONE).then_some(row.base),
            changes: self
                .changes
                .get(changes as usize..row.changes_end as usize)
                .unwrap_or_default(),
        }
    }

    /// The name of a commit.
    #[must_use]
    pub fn commit_id(&self, number: u32) -> Option<ObjectId> {
        self.digest(&self.commit_ids, number)
    }

    /// The number of each commit.
    #[must_use]
    pub fn numbers(&self) -> HashMap<ObjectId, u32> {
        self.named(&self.commit_ids).collect()
    }

    /// All blobs with their numbers.
    pub fn blobs(&self) -> impl Iterator<Item = (ObjectId, u32)> {
        self.named(&self.blob_ids)
    }

    /// The name of a blob.
    #[must_use]
    pub fn blob_id(&self, number: u32) -> Option<ObjectId> {
        self.digest(&self.blob_ids, number)
    }

    /// A path.
    #[must_use]
    pub fn path(&self, number: u32) -> &BStr {
        let end = |number: usize| self.path_ends.get(number).copied().unwrap_or(0) as usize;
        let start = (number as usize).checked_sub(1).map_or(0, end);
        self.path_bytes
            .get(start..end(number as usize))
            .unwrap_or_default()
            .as_bstr()
    }

    /// All paths, in the order of their numbers.
    pub fn paths(&self) -> impl Iterator<Item = (u32, &BStr)> {
        (0..)
            .take(self.path_count())
            .map(|number| (number, self.path(number)))
    }

    const fn digest_length(&self) -> usize {
        match self.kind {
            HashKind::Sha1 => 20,
            HashKind::Sha256 => 32,
        }
    }

    fn digest(&self, table: &[u8], number: u32) -> Option<ObjectId> {
        let length = self.digest_length();
        let start = (number as usize).checked_mul(length)?;
        ObjectId::from_bytes(table.get(start..start.checked_add(length)?)?)
    }

    fn named<'a>(&self, table: &'a [u8]) -> impl Iterator<Item = (ObjectId, u32)> + use<'a> {
        table
            .chunks_exact(self.digest_length())
            .filter_map(ObjectId::from_bytes)
            .zip(0..)
    }

    /// Which commits can be reached from these, themselves included.
    #[must_use]
    pub fn ancestors(&self, of: &[u32]) -> Vec<bool> {
        let mut reached = vec![false; self.len()];
        let mut pending: Vec<u32> = of.to_vec();
        while let Some(number) = pending.pop() {
            let Some(flag) = reached.get_mut(number as usize) else {
                continue;
            };
            if !std::mem::replace(flag, true)
                && let Some(commit) = self.commit(number)
            {
                pending.extend(commit.parents);
            }
        }
        reached
    }

    /// Which commits these can be reached from, themselves included.
    #[must_use]
    pub fn descendants(&self, of: &[u32]) -> Vec<bool> {
        let mut reached = vec![false; self.len()];
        for number in of {
            if let Some(flag) = reached.get_mut(*number as usize) {
                *flag = true;
            }
        }
        for commit in self.commits() {
            let from_parent = commit
                .parents
                .iter()
                .any(|parent| reached.get(*parent as usize).copied().unwrap_or(false));
            if from_parent && let Some(flag) = reached.get_mut(commit.number as usize) {
                *flag = true;
            }
        }
        reached
    }

    /// The same history without the commits that are not kept. Every parent of a kept one must be kept.
    pub fn retain(&self, keep: &[bool]) -> Result<Self, TooLarge> {
        let mut kept = Self::new(self.kind);
        let mut numbers = vec![NONE; self.len()];
        let mut appender = Appender::new(&mut kept);
        for commit in self.commits() {
            if !keep.get(commit.number as usize).copied().unwrap_or(false) {
                continue;
            }
            let number = |old: &u32| numbers.get(*old as usize).copied().unwrap_or(NONE);
            let blob = |number: Option<u32>| number.and_then(|number| self.blob_id(number));
            let Some(id) = self.commit_id(commit.number) else {
                continue;
            };
            let added = appender.push(&NewCommit {
                id,
                time: commit.time,
                parents: commit.parents.iter().map(number).collect(),
                base: commit.base.as_ref().map(number),
                changes: commit
                    .changes
                    .iter()
                    .map(|change| {
                        let path = self.path(change.path).to_owned();
                        (path, blob(change.before()), blob(change.after()))
                    })
                    .collect(),
            })?;
            if let Some(slot) = numbers.get_mut(commit.number as usize) {
                *slot = added;
            }
        }
        Ok(kept)
    }
}

/// Adds commits to a history.
pub struct Appender<'a> {
    history: &'a mut History,
    paths: HashMap<BString, u32>,
    blobs: HashMap<ObjectId, u32>,
}

impl<'a> Appender<'a> {
    /// Makes ready to add; that takes memory for all names, so it is worth it only when there is something.
    pub fn new(history: &'a mut History) -> Self {
        let paths = history
            .paths()
            .map(|(number, path)| (path.to_owned(), number))
            .collect();
        let blobs = history.blobs().collect();
        Self {
            history,
            paths,
            blobs,
        }
    }

    /// Adds a commit behind its parents and returns its number.
    pub fn push(&mut self, commit: &NewCommit) -> Result<u32, TooLarge> {
        let number = count(self.history.commits.len())?;
        for (path, old, new) in &commit.changes {
            let path = self.path(path)?;
            let old = old.map(|id| self.blob(id)).transpose()?;
            let new = new.map(|id| self.blob(id)).transpose()?;
            self.history.changes.push(Change::of(path, old, new));
        }
        self.history
            .commit_ids
            .extend_from_slice(commit.id.as_bytes());
        self.history.parents.extend(&commit.parents);
        self.history.commits.push(Row {
            time: commit.time,
            base: commit.base.unwrap_or(NONE),
            parents_end: count(self.history.parents.len())?,
            changes_end: count(self.history.changes.len())?,
        });
        Ok(number)
    }

    fn path(&mut self, path: &BString) -> Result<u32, TooLarge> {
        if let Some(number) = self.paths.get(path) {
            return Ok(*number);
        }
        let number = count(self.history.path_ends.len())?;
        self.history.path_bytes.extend_from_slice(path);
        self.history
            .path_ends
            .push(count(self.history.path_bytes.len())?);
        self.paths.insert(path.clone(), number);
        Ok(number)
    }

    fn blob(&mut self, id: ObjectId) -> Result<u32, TooLarge> {
        if let Some(number) = self.blobs.get(&id) {
            return Ok(*number);
        }
        let number = count(self.history.blob_count())?;
        self.history.blob_ids.extend_from_slice(id.as_bytes());
        self.blobs.insert(id, number);
        Ok(number)
    }
}

/// A length as a number that is not the mark for nothing.
fn count(length: usize) -> Result<u32, TooLarge> {
    u32::try_from(length)
        .ok()
        .filter(|number| *number != NONE)
        .ok_or(TooLarge)
}

mod encoding {
    //! The bytes in which a history is kept: columns of variable-length numbers, which compress well.

    use super::{Change, History, NONE, Row};
    use crate::object::HashKind;

    impl History {
        /// The history as bytes, for [`History::decode`].
        #[must_use]
        pub fn encode(&self) -> Vec<u8> {
            let mut out = Vec::with_capacity(self.commit_ids.len() + self.blob_ids.len());
            out.push(match self.kind {
                HashKind::Sha1 => 1,
                HashKind::Sha256 => 2,
            });
            for length in [
                self.commits.len(),
                self.parents.len(),
                self.changes.len(),
                self.path_bytes.len(),
                self.path_ends.len(),
                self.blob_ids.len(),
            ] {
                put(&mut out, length as u64);
            }
            let mut before = Row {
                time: 0,
                base: NONE,
                parents_end: 0,
                changes_end: 0,
            };
            for (number, row) in (0_u32..).zip(&self.commits) {
                put(&mut out, zigzag(row.time.wrapping_sub(before.time)));
                put(&mut out, backwards(number, row.base));
                put(&mut out, (row.parents_end - before.parents_end).into());
                put(&mut out, (row.changes_end - before.changes_end).into());
                before = *row;
            }
            for commit in self.commits() {
                for parent in commit.parents {
                    put(&mut out, backwards(commit.number, *parent));
                }
            }
            for change in &self.changes {
                put(&mut out, change.path.into());
            }
            // The blob that a path had last is mostly the one that the next change replaces.
            let mut last = vec![NONE; self.path_count()];
            for change in &self.changes {
                let slot = last.get_mut(change.path as usize);
                let expected = slot.as_ref().map_or(NONE, |slot| **slot);
                let same = change.old == expected;
                put(&mut out, if same { 0 } else { shifted(change.old) + 1 });
                if let Some(slot) = slot {
                    *slot = change.new;
                }
            }
            // New blobs are numbered as they come, so most are the next one.
            let mut next = 0;
            for change in &self.changes {
                let is_next = change.new == next;
                put(&mut out, if is_next { 0 } else { shifted(change.new) + 1 });
                for side in [change.old, change.new] {
                    if side != NONE {
                        next = next.max(side.saturating_add(1));
                    }
                }
            }
            let mut end = 0;
            for path_end in &self.path_ends {
                put(&mut out, (path_end - end).into());
                end = *path_end;
            }
            out.extend_from_slice(&self.path_bytes);
            out.extend_from_slice(&self.commit_ids);
            out.extend_from_slice(&self.blob_ids);
            out
        }

        /// Reads what [`History::encode`] wrote; `None` for anything else. Every number is checked, so that
        /// what comes out is a history whatever went in.
        #[must_use]
        pub fn decode(bytes: &[u8]) -> Option<Self> {
            let mut input = Input(bytes);
            let kind = match input.bytes(1)? {
                [1] => HashKind::Sha1,
                [2] => HashKind::Sha256,
                _ => return None,
            };
            let mut history = Self::new(kind);
            let mut lengths = [0; 6];
            for length in &mut lengths {
                *length = usize::try_from(input.number()?).ok()?;
            }
            let [commits, parents, changes, path_bytes, paths, blob_bytes] = lengths;
            // Each takes at least a byte: nothing is allocated for a length that cannot be true.
            if commits.max(parents).max(changes).max(paths) > bytes.len() {
                return None;
            }
            history.decode_commits(&mut input, commits, parents, changes)?;
            let blobs = u32::try_from(blob_bytes / history.digest_length()).ok()?;
            history.decode_changes(&mut input, changes, paths, blobs)?;
            let mut end = 0_u32;
            for _ in 0..paths {
                end = end.checked_add(input.small()?)?;
                history.path_ends.push(end);
            }
            if end as usize != path_bytes || blob_bytes % history.digest_length() != 0 {
                return None;
            }
            history.path_bytes = input.bytes(path_bytes)?.to_vec();
            history.commit_ids = input
                .bytes(commits.checked_mul(history.digest_length())?)?
                .to_vec();
            history.blob_ids = input.bytes(blob_bytes)?.to_vec();
            input.0.is_empty().then_some(history)
        }

        fn decode_commits(
            &mut self,
            input: &mut Input<'_>,
            commits: usize,
            parents: usize,
            changes: usize,
        ) -> Option<()> {
            self.commits.reserve_exact(commits);
            let (mut time, mut parents_end, mut changes_end) = (0_i64, 0_u32, 0_u32);
            for number in 0..u32::try_from(commits).ok()? {
                time = time.wrapping_add(unzigzag(input.number()?));
                let base = forwards(number, input.number()?)?;
                parents_end = parents_end.checked_add(input.small()?)?;
                changes_end = changes_end.checked_add(input.small()?)?;
                self.commits.push(Row {
                    time,
                    base,
                    parents_end,
                    changes_end,
                });
            }
            if parents_end as usize != parents || changes_end as usize != changes {
                return None;
            }
            self.parents.reserve_exact(parents);
            let rows = std::mem::take(&mut self.commits);
            for (number, row) in (0_u32..).zip(&rows) {
                while self.parents.len() < row.parents_end as usize {
                    let parent = forwards(number, input.number()?)?;
                    self.parents.push((parent != NONE).then_some(parent)?);
                }
            }
            self.commits = rows;
            Some(())
        }

        fn decode_changes(
            &mut self,
            input: &mut Input<'_>,
            changes: usize,
            paths: usize,
            blobs: u32,
        ) -> Option<()> {
            self.changes.reserve_exact(changes);
            for _ in 0..changes {
                let path = input.small()?;
                if path as usize >= paths {
                    return None;
                }
                self.changes.push(Change::of(path, None, None));
            }
            let mut olds = Vec::with_capacity(changes);
            for _ in 0..changes {
                olds.push(input.number()?);
            }
            let mut last = vec![NONE; paths];
            let mut next = 0_u32;
            let valid = |blob: u32| (blob == NONE || blob < blobs).then_some(blob);
            for (change, old) in self.changes.iter_mut().zip(olds) {
                let slot = last.get_mut(change.path as usize)?;
                change.old = valid(match old.checked_sub(1) {
                    None => *slot,
                    Some(old) => unshifted(old)?,
                })?;
                change.new = valid(match input.number()?.checked_sub(1) {
                    None => next,
                    Some(new) => unshifted(new)?,
                })?;
                *slot = change.new;
                for side in [change.old, change.new] {
                    if side != NONE {
                        next = next.max(side.saturating_add(1));
                    }
                }
            }
            Some(())
        }
    }

    /// The rest of the input.
    struct Input<'a>(&'a [u8]);

    impl<'a> Input<'a> {
        fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
            let (bytes, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            Some(bytes)
        }

        fn number(&mut self) -> Option<u64> {
            let mut number = 0_u64;
            for shift in (0..64).step_by(7) {
                let (byte, rest) = self.0.split_first()?;
                self.0 = rest;
                number |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Some(number);
                }
            }
            None
        }

        fn small(&mut self) -> Option<u32> {
            self.number()?.try_into().ok()
        }
    }

    fn put(out: &mut Vec<u8>, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                out.push(low & 0x7f);
                return;
            }
            out.push(low | 0x80);
        }
    }

    const fn zigzag(number: i64) -> u64 {
        (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
    }

    const fn unzigzag(number: u64) -> i64 {
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    /// How far before a commit another one stands; 0 for none.
    fn backwards(number: u32, other: u32) -> u64 {
        if other == NONE {
            0
        } else {
            (number - other).into()
        }
    }

    fn forwards(number: u32, distance: u64) -> Option<u32> {
        match u32::try_from(distance).ok()? {
            0 => Some(NONE),
            distance => number.checked_sub(distance),
        }
    }

    /// Nothing is 0, so that it takes one byte.
    fn shifted(number: u32) -> u64 {
        if number == NONE {
            0
        } else {
            u64::from(number) + 1
        }
    }

    fn unshifted(number: u64) -> Option<u32> {
        match number.checked_sub(1) {
            None => Some(NONE),
            Some(number) => u32::try_from(number).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::object::blob_id;

    fn id(number: u32) -> ObjectId {
        blob_id(HashKind::Sha1, &number.to_le_bytes()).unwrap()
    }

    fn commit(
        number: u32,
        parents: &[u32],
        changes: &[(&str, Option<u32>, Option<u32>)],
    ) -> NewCommit {
        NewCommit {
            id: id(1000 + number),
            time: i64::from(number) * 7 - 3,
            parents: parents.to_vec(),
            base: parents.first().copied(),
            changes: changes
                .iter()
                .map(|(path, old, new)| ((*path).into(), old.map(id), new.map(id)))
                .collect(),
        }
    }

    fn example() -> History {
        let mut history = History::new(HashKind::Sha1);
        let mut appender = Appender::new(&mut history);
        for commit in [
            commit(0, &[], &[("a", None, Some(1)), ("b", None, Some(2))]),
            commit(1, &[0], &[("a", Some(1), Some(3))]),
            commit(2, &[0], &[("b", Some(2), None)]),
            commit(3, &[1, 2], &[("b", Some(2), None)]),
        ] {
            appender.push(&commit).unwrap();
        }
        history
    }

    #[test]
    fn what_is_written_is_read() {
        let history = example();
        assert_eq!(History::decode(&history.encode()), Some(history));
    }

    #[test]
    fn ancestors_and_descendants_follow_the_parents() {
        let history = example();
        assert_eq!(history.ancestors(&[2]), [true, false, true, false]);
        assert_eq!(history.descendants(&[1]), [false, true, false, true]);
    }

    #[test]
    fn commits_that_nothing_leads_to_can_be_left_out() {
        let history = example();
        let kept = history.retain(&[true, false, true, false]).unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept.commit_id(1), Some(id(1002)));
        assert_eq!(kept.commit(1).unwrap().parents, [0]);
        assert_eq!(kept.path(kept.commit(1).unwrap().changes[0].path), "b");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_history_or_none(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut bytes = example().encode();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut % length);
            if let Some(history) = History::decode(&bytes) {
                for commit in history.commits() {
                    prop_assert!(commit.parents.iter().all(|parent| *parent < commit.number));
                    for change in commit.changes {
                        prop_assert!((change.path as usize) < history.path_count());
                        prop_assert!(change.after().is_none_or(|blob| history.blob_id(blob).is_some()));
                    }
                }
            }
        }
    }
}
