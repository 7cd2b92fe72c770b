//! rpm's database: a table of package headers, each of which lists its files.
//!
//! `SQLite` holds the table from rpm 4.16 on (Fedora, RHEL 9, UBI 9). Berkeley DB, which RHEL 8 and older have, and SUSE's
//! ndb are not read. The formats are those of rpm's `lib/backend/sqlite.c` and `lib/header.c`.

use std::{collections::HashSet, hash::BuildHasher};

use bstr::{BStr, BString, ByteSlice as _};
use rusqlite::{Connection, config::DbConfig};

/// Steps of the database machine before reading is given up: a database of a stranger must not hold anybody up. A real
/// one of a thousand packages takes some ten thousand.
const STEPS: u64 = 20_000_000;
/// `SQLite` looks at the clock, as it were, once in so many steps.
const STEPS_A_LOOK: i32 = 10_000;

/// Adds the files that a database lists. Packages whose headers cannot be read add none.
pub fn rpm_files(
    database: &[u8],
    files: &mut HashSet<BString, impl BuildHasher>,
) -> Result<(), rusqlite::Error> {
    let mut connection = Connection::open_in_memory()?;
    // rpm writes ahead into a log, which `SQLite` wants as a file beside it; what the main file has is whole without.
    let mut database = database.to_vec();
    for version in database.iter_mut().skip(18).take(2) {
        *version = 1;
    }
    connection.deserialize_read_exact("main", database.as_slice(), database.len(), true)?;
    // Whoever made the file decides what is in its schema.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    let mut looks = STEPS / u64::from(STEPS_A_LOOK.unsigned_abs());
    connection.progress_handler(
        STEPS_A_LOOK,
        Some(move || {
            looks = looks.saturating_sub(1);
            looks == 0
        }),
    )?;
    let mut statement = connection.prepare("SELECT blob FROM Packages")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Ok(header) = row.get_ref(0)?.as_blob() {
            header_files(header, files);
        }
    }
    Ok(())
}

/// Tags of a header (`include/rpm/rpmtag.h`).
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;
/// An index entry: tag, type, offset and count, big-endian.
const ENTRY: usize = 16;

/// Adds the files of one header: base names, and for each the number of its folder.
fn header_files(header: &[u8], files: &mut HashSet<BString, impl BuildHasher>) {
    let (Some(folders), Some(names), Some(numbers)) = (
        strings(header, DIRNAMES),
        strings(header, BASENAMES),
        values(header, DIRINDEXES),
    ) else {
        // A package without files has none of them.
        return;
    };
    for (name, number) in names.iter().zip(numbers.chunks_exact(4)) {
        let number = number.try_into().map_or(u32::MAX, u32::from_be_bytes);
        let folder = usize::try_from(number).ok().and_then(|it| folders.get(it));
        if let Some(folder) = folder {
            files.insert([folder.as_bytes(), name.as_bytes()].concat().into());
        }
    }
}

/// An array of texts, each ended by a zero.
fn strings(header: &[u8], tag: u32) -> Option<Vec<&BStr>> {
    let (count, data) = entry(header, tag)?;
    Some(data.split_str("\0").take(count).map(BStr::new).collect())
}

/// An array of numbers of four bytes.
fn values(header: &[u8], tag: u32) -> Option<&[u8]> {
    let (count, data) = entry(header, tag)?;
    data.get(..count.checked_mul(4)?)
}

/// The count of a tag's values, and the data from their start on.
fn entry(header: &[u8], wanted: u32) -> Option<(usize, &[u8])> {
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let entries = usize::try_from(word(header, 0)?).ok()?;
    let size = usize::try_from(word(header, 4)?).ok()?;
    let index_end = entries.checked_mul(ENTRY)?.checked_add(8)?;
    let data = header.get(index_end..index_end.checked_add(size)?)?;
    header
        .get(8..index_end)?
        .chunks_exact(ENTRY)
        .find_map(|entry| {
            (word(entry, 0)? == wanted).then_some(())?;
            let offset = usize::try_from(word(entry, 8)?).ok()?;
            let count = usize::try_from(word(entry, 12)?).ok()?;
            Some((count, data.get(offset..)?))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(folders: &[&str], files: &[(&str, u32)]) -> Vec<u8> {
        let text = |texts: Vec<&str>| {
            texts
                .iter()
                .flat_map(|it| [it.as_bytes(), b"\0"].concat())
                .collect::<Vec<u8>>()
        };
        let numbers: Vec<u8> = files
            .iter()
            .flat_map(|(_, number)| number.to_be_bytes())
            .collect();
        let parts = [
            (DIRINDEXES, 4, files.len(), numbers),
            (
                BASENAMES,
                8,
                files.len(),
                text(files.iter().map(|(name, _)| *name).collect()),
            ),
            (DIRNAMES, 8, folders.len(), text(folders.to_vec())),
        ];
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, count, bytes) in parts {
            for word in [
                tag,
                kind,
                u32::try_from(data.len()).unwrap(),
                u32::try_from(count).unwrap(),
            ] {
                index.extend(word.to_be_bytes());
            }
            data.extend(bytes);
        }
        let mut header = 3_u32.to_be_bytes().to_vec();
        header.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        header.extend(index);
        header.extend(data);
        header
    }

    #[test]
    fn a_header_lists_its_files_by_folder() {
        let header = header(
            &["/usr/bin/", "/etc/"],
            &[("rpm", 0), ("rpmrc", 1), ("lost", 7)],
        );
        let mut found = HashSet::new();
        header_files(&header, &mut found);
        let mut found: Vec<_> = found.iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(found, ["/etc/rpmrc", "/usr/bin/rpm"]);
    }

    #[test]
    fn a_header_that_is_cut_or_lies_gives_no_more_than_it_has() {
        let whole = header(&["/"], &[("a", 0), ("b", 0)]);
        for length in 0..whole.len() {
            header_files(&whole[..length], &mut HashSet::new());
        }
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0xff;
            header_files(&damaged, &mut HashSet::new());
        }
    }

    #[test]
    fn what_is_no_database_is_said_to_be_none() {
        let mut found = HashSet::new();
        assert!(rpm_files(b"no database", &mut found).is_err());
        assert!(rpm_files(b"", &mut found).is_err());
    }

    #[test]
    fn a_schema_that_would_run_for_ever_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT x'00' UNION ALL SELECT blob FROM n) SELECT blob FROM n;",
            )
            .unwrap();
        let database = connection.serialize("main").unwrap().to_vec();
        assert!(rpm_files(&database, &mut HashSet::new()).is_err());
    }
}
