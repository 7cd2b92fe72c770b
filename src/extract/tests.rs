use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::*;

const PLAIN: Attributes = Attributes {
    permissions: 0o644,
    modified: 1_700_000_000_000_000_000,
};

/// A destination with a file beside it that no entry may reach.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("destination")).unwrap();
        fs::create_dir(outer.path().join("destinationbar")).unwrap();
        fs::create_dir(outer.path().join("victim")).unwrap();
        fs::set_permissions(
            outer.path().join("victim"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        fs::write(outer.path().join("victim/file"), "untouched").unwrap();
        Self { outer }
    }

    fn path(&self) -> std::path::PathBuf {
        self.outer.path().join("destination")
    }

    fn extractor(&self) -> Extractor {
        let root = fs::File::open(self.path()).unwrap();
        Extractor::new(root.into(), Limits { entries: 100 })
    }

    /// Nothing but the destination changed.
    fn assert_unharmed(&self) {
        let names: Vec<_> = fs::read_dir(self.outer.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(
            fs::read_dir(self.outer.path().join("destinationbar"))
                .unwrap()
                .count(),
            0
        );
        assert_eq!(
            fs::read_dir(self.outer.path().join("victim"))
                .unwrap()
                .count(),
            1
        );
        assert_eq!(
            fs::read_to_string(self.outer.path().join("victim/file")).unwrap(),
            "untouched"
        );
        let mode = fs::metadata(self.outer.path().join("victim"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
}

fn write(extractor: &mut Extractor, path: &str, content: &str) -> Result<(), ExtractError> {
    let mut file = extractor.file(path.into())?;
    file.data(content.as_bytes())?;
    file.finish(PLAIN).map(drop)
}

fn refusal<T>(result: Result<T, ExtractError>) -> Refusal {
    match result {
        Err(ExtractError::Refused(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was written"),
    }
}

#[test]
fn files_folders_and_inner_links_are_written_with_their_attributes() {
    let place = Place::new();
    let mut extractor = place.extractor();
    extractor
        .folder(
            "a".into(),
            Attributes {
                permissions: 0o555,
                ..PLAIN
            },
        )
        .unwrap();
    write(&mut extractor, "a/b/c.txt", "content").unwrap();
    extractor.link("a/link".into(), "b/c.txt".into()).unwrap();
    extractor
        .link("a/b/up".into(), "../b/./c.txt".into())
        .unwrap();
    assert!(extractor.links().unwrap().is_empty());
    extractor.finish().unwrap();
    let read = |path: &str| fs::read_to_string(place.path().join(path)).unwrap();
    assert_eq!(read("a/b/c.txt"), "content");
    assert_eq!(read("a/link"), "content");
    assert_eq!(read("a/b/up"), "content");
    let folder = fs::metadata(place.path().join("a")).unwrap();
    assert_eq!(
        (folder.mode() & 0o7777, folder.mtime()),
        (0o755, 1_700_000_000)
    );
}

/// CVE-2018-1002100: names that climb.
#[test]
fn names_that_climb_or_are_absolute_are_refused() {
    let place = Place::new();
    let mut extractor = place.extractor();
    for path in [
        "../victim/pwn",
        "/victim/pwn",
        "a/../../victim/pwn",
        "..",
        ".",
        "",
        "a//b",
        "a/",
        "a/.",
        "nul\0byte",
    ] {
        assert_eq!(
            refusal(extractor.file(path.into())),
            Refusal::Outside(path.into()),
            "{path:?}"
        );
        assert_eq!(
            refusal(extractor.folder(path.into(), PLAIN)),
            Refusal::Outside(path.into())
        );
        assert_eq!(
            refusal(extractor.link(path.into(), "x".into())),
            Refusal::Outside(path.into())
        );
    }
    // Other systems' separators are ordinary characters of a name here.
    for path in [r"..\..\pwn", "C:pwn", r"\\host\share"] {
        write(&mut extractor, path, "").unwrap();
        assert!(place.path().join(path).exists());
    }
    place.assert_unharmed();
}

/// CVE-2019-1002101: a link, then a file written through it; in either order.
#[test]
fn nothing_is_written_through_a_link() {
    let place = Place::new();
    let mut extractor = place.extractor();
    assert_eq!(
        refusal(extractor.link("d".into(), "../victim".into())),
        Refusal::Link("../victim".into())
    );
    extractor.link("inner".into(), "real".into()).unwrap();
    write(&mut extractor, "inner/pwn", "in a folder of that name").unwrap();
    let refused = extractor.links().unwrap();
    assert_eq!(refused.len(), 1, "the folder was there first");
    assert!(
        place
            .path()
            .join("inner")
            .symlink_metadata()
            .unwrap()
            .is_dir()
    );
    place.assert_unharmed();
}

/// The same, should a link ever stand there: both ways to open a folder refuse to follow it.
#[test]
fn a_link_that_stands_there_is_not_followed_with_or_without_openat2() {
    for has_openat2 in [true, false] {
        let place = Place::new();
        std::os::unix::fs::symlink("../victim", place.path().join("d")).unwrap();
        std::os::unix::fs::symlink("../victim/file", place.path().join("f")).unwrap();
        let mut extractor = place.extractor();
        assert!(extractor.way.has_openat2);
        extractor.way.has_openat2 = has_openat2;
        refusal(write(&mut extractor, "d/pwn", "x"));
        refusal(write(&mut extractor, "d/deeper/pwn", "x"));
        refusal(write(&mut extractor, "f", "x"));
        // CVE-2026-33056: a folder entry over a link changes the mode of what it points to.
        refusal(extractor.folder(
            "d".into(),
            Attributes {
                permissions: 0o777,
                ..PLAIN
            },
        ));
        refusal(extractor.discard("d/file".into()));
        extractor.finish().unwrap();
        place.assert_unharmed();
    }
}

/// CVE-2019-11246, -11249 and -11251: targets compared as text, nested, and chained.
#[test]
fn links_that_lead_outside_alone_or_through_another_are_refused() {
    for (path, target) in [
        ("l", "/etc"),
        ("l", ".."),
        ("l", "../destinationbar"),
        ("l", "a/../../victim"),
        ("a/b/c", "../../.."),
        ("a/b/c", "../../../victim"),
        ("l2", "l1/.."),
        ("a/l", "../b/.."),
        ("l", ""),
        ("l", "x\0y"),
    ] {
        assert!(
            !stays_inside(path.into(), target.into()),
            "{path} -> {target}"
        );
    }
    for (path, target) in [
        ("l1", "."),
        ("a/b/c", "../.."),
        ("a/b/c", "../../x/y"),
        ("l", "./a//b"),
        ("l", "..."),
    ] {
        assert!(
            stays_inside(path.into(), target.into()),
            "{path} -> {target}"
        );
    }
}

/// An audit of kubectl cp: what is executed by being there.
#[test]
fn what_a_program_takes_for_a_repository_is_refused() {
    let place = Place::new();
    let mut extractor = place.extractor();
    for path in [
        ".git/config",
        "a/.git/hooks/post-checkout",
        ".GIT/config",
        ".git ./x",
        ".git. .",
        "git~1/x",
        "GIT~1",
        ".g\u{200c}it/x",
        ".git::$INDEX_ALLOCATION/x",
        ".git",
    ] {
        assert!(
            matches!(refusal(extractor.file(path.into())), Refusal::Repository(_)),
            "{path}"
        );
    }
    for path in [".github/x", ".gitignore", "git", "a.git/x", "git~10"] {
        write(&mut extractor, path, "").unwrap();
    }
}

/// tar-rs CVE-2018-20990: a file and a link with one name, files twice, files below files.
#[test]
fn a_name_is_written_once() {
    let place = Place::new();
    let mut extractor = place.extractor();
    write(&mut extractor, "one", "first").unwrap();
    assert_eq!(
        refusal(write(&mut extractor, "one", "second")),
        Refusal::Duplicate
    );
    refusal(write(&mut extractor, "one/below", "x"));
    refusal(extractor.folder("one".into(), PLAIN));
    extractor.link("one".into(), "elsewhere".into()).unwrap();
    let refused = extractor.links().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        fs::read_to_string(place.path().join("one")).unwrap(),
        "first"
    );
}

#[test]
fn set_id_bits_and_the_write_access_of_others_are_left_out() {
    let place = Place::new();
    let mut extractor = place.extractor();
    let file = extractor.file("suid".into()).unwrap();
    file.finish(Attributes {
        permissions: 0o7777,
        ..PLAIN
    })
    .unwrap();
    let file = extractor.file("unreadable".into()).unwrap();
    file.finish(Attributes {
        permissions: 0,
        ..PLAIN
    })
    .unwrap();
    extractor
        .folder(
            "sticky".into(),
            Attributes {
                permissions: 0o7777,
                ..PLAIN
            },
        )
        .unwrap();
    extractor.finish().unwrap();
    let mode = |name: &str| fs::metadata(place.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("suid"), mode("unreadable"), mode("sticky")),
        (0o755, 0o600, 0o755)
    );
}

#[test]
fn names_paths_and_counts_have_limits() {
    let place = Place::new();
    let mut extractor = place.extractor();
    assert_eq!(
        refusal(extractor.file("n".repeat(256).as_str().into())),
        Refusal::LongName(256)
    );
    write(&mut extractor, &"n".repeat(255), "").unwrap();
    // Longer than PATH_MAX: no single call of the kernel takes it.
    let deep = vec!["d".repeat(200); 30].join("/");
    write(&mut extractor, &deep, "deep").unwrap();
    let mut extractor = Extractor::new(
        fs::File::open(place.path()).unwrap().into(),
        Limits { entries: 2 },
    );
    write(&mut extractor, "1", "").unwrap();
    write(&mut extractor, "2", "").unwrap();
    assert!(matches!(
        write(&mut extractor, "3", ""),
        Err(ExtractError::TooMany(2))
    ));
}

#[test]
fn holes_take_no_room_and_read_as_zeros() {
    let place = Place::new();
    let mut extractor = place.extractor();
    let mut file = extractor.file("sparse".into()).unwrap();
    file.data(b"start").unwrap();
    file.hole(64 << 20).unwrap();
    file.data(b"end").unwrap();
    file.hole(1 << 20).unwrap();
    file.finish(PLAIN).unwrap();
    let metadata = fs::metadata(place.path().join("sparse")).unwrap();
    assert_eq!(metadata.len(), (65 << 20) + 8);
    assert!(
        metadata.blocks() * 512 < 1 << 20,
        "{} blocks",
        metadata.blocks()
    );
}

#[test]
fn a_destination_shows_the_whole_or_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out");
    let count = || fs::read_dir(place.path()).unwrap().count();

    let destination = Destination::new(&path, false).unwrap();
    drop(destination.folder().unwrap());
    drop(destination.file().unwrap());
    assert_eq!(count(), 0, "what is not published is removed");

    let folder = destination.folder().unwrap();
    fs::write(folder.path().join("x"), "1").unwrap();
    destination.publish_folder(folder).unwrap();
    assert!(matches!(
        Destination::new(&path, false),
        Err(DestinationError::Exists(_))
    ));
    assert!(matches!(
        destination.publish_file(destination.file().unwrap()),
        Err(DestinationError::Exists(_))
    ));
    assert!(matches!(
        destination.publish_folder(destination.folder().unwrap()),
        Err(DestinationError::Exists(_))
    ));

    assert!(matches!(
        Destination::new(&path, true),
        Err(DestinationError::Foreign(_))
    ));
    fs::write(path.join(BUNDLE_MARK), "{}").unwrap();
    let forced = Destination::new(&path, true).unwrap();
    forced.publish_folder(forced.folder().unwrap()).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert_eq!(count(), 1);

    assert!(matches!(
        Destination::new(Path::new("/"), false),
        Err(DestinationError::NoName(_))
    ));
    assert!(matches!(
        Destination::new(&path.join("no/such"), false),
        Err(DestinationError::NoFolder(_))
    ));
}
