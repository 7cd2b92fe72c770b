//! Configurations of servers that name folders of files: nginx, PHP-FPM and Apache httpd, with what they include.
//!
//! Not parsers of these languages: only the lines that name a folder or another file are taken out, and only values
//! that are fixed. An include with wildcards needs the names in its folder, so a configuration is read in rounds.

use bstr::{BStr, BString, ByteSlice as _};

use super::{Answers, Questions, arguments::absolute};
use crate::evidence::mapping::{join, parent};

/// More files than this are not read.
const MOST: usize = 64;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `root /srv/www;`, `include conf.d/*.conf;`
    Nginx,
    /// `chdir = /srv/app`, `include=etc/php-fpm.d/*.conf`
    PhpFpm,
    /// `DocumentRoot "/srv/www"`, `IncludeOptional sites-enabled/*.conf`
    Apache,
}

/// A configuration file, which need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    path: BString,
    dialect: Dialect,
    /// Where relative includes start.
    base: BString,
}

/// The files of the configurations of one process, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Configurations {
    files: Vec<File>,
    /// How many of them have been looked through for includes.
    expanded: usize,
    /// How many of them have been asked for.
    asked: usize,
    /// Includes with wildcards: the folder, the pattern of names in it, and how to read what matches.
    patterns: Vec<(BString, BString, File)>,
}

/// What a file names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    folders: Vec<BString>,
    includes: Vec<BString>,
}

impl Configurations {
    /// Adds a file in which a server looks first.
    pub(super) fn add(&mut self, path: BString, dialect: Dialect, base: &str) {
        self.push(File {
            path,
            dialect,
            base: base.into(),
        });
    }

    /// What is to be read next; empty when nothing is.
    pub(super) fn questions(&mut self, answers: &Answers) -> Questions {
        while let Some(file) = self.files.get(self.expanded).cloned() {
            let Some(content) = answers.contents.get(&file.path) else {
                if self.expanded < self.asked {
                    // It is not there.
                    self.expanded += 1;
                    continue;
                }
                break;
            };
            self.expanded += 1;
            for include in file.dialect.read(content).includes {
                self.include(&file, include);
            }
        }
        let waiting = std::mem::take(&mut self.patterns);
        for (folder, pattern, like) in waiting {
            match answers.listings.get(&folder) {
                Some(names) => self.matching(&folder, &pattern, &like, names),
                None => self.patterns.push((folder, pattern, like)),
            }
        }
        let contents = self.files.iter().skip(self.asked);
        let questions = Questions {
            contents: contents.map(|file| file.path.clone()).collect(),
            listings: self
                .patterns
                .iter()
                .map(|(folder, ..)| folder.clone())
                .collect(),
            ..Questions::default()
        };
        self.asked = self.files.len();
        questions
    }

    /// The folders that the files name, each with the file.
    pub(super) fn folders(self, answers: &Answers) -> Vec<(BString, BString)> {
        let mut found = Vec::new();
        for file in self.files {
            let content = answers.contents.get(&file.path);
            for folder in content.map_or_else(Vec::new, |text| file.dialect.read(text).folders) {
                found.push((folder, file.path.clone()));
            }
        }
        found
    }

    fn push(&mut self, file: File) {
        if self.files.len() < MOST && !self.files.iter().any(|known| known.path == file.path) {
            self.files.push(file);
        }
    }

    fn include(&mut self, from: &File, include: BString) {
        let path = absolute(from.base.as_ref(), include);
        let like = File {
            path,
            ..from.clone()
        };
        let (folder, name) = parent(like.path.as_ref());
        if folder.contains(&b'*') {
            // Nobody's configuration is spread like that, and it would be many folders.
            return;
        }
        if name.contains(&b'*') {
            let pattern = (folder.to_owned(), name.to_owned(), like.clone());
            self.patterns.push(pattern);
        } else {
            self.push(like);
        }
    }

    fn matching(&mut self, folder: &BString, pattern: &BString, like: &File, names: &[BString]) {
        let mut names: Vec<&BString> = names
            .iter()
            .filter(|name| matches(name.as_ref(), pattern.as_ref()))
            .collect();
        // As servers read them.
        names.sort();
        for name in names {
            self.push(File {
                path: join(folder.as_ref(), name.as_ref()),
                ..like.clone()
            });
        }
    }
}

/// Whether a name has the parts of a pattern between its `*`, in order. Hidden files need a pattern that begins so.
fn matches(name: &BStr, pattern: &BStr) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let mut parts = pattern.split_str("*");
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Dialect {
    fn read(self, content: &[u8]) -> Named {
        let mut named = Named::default();
        for line in content.lines() {
            match self {
                Self::Nginx => nginx(line, &mut named),
                Self::PhpFpm => php_fpm(line, &mut named),
                Self::Apache => apache(line, &mut named),
            }
        }
        named
    }
}

fn nginx(line: &[u8], named: &mut Named) {
    let line = line.split_str("#").next().unwrap_or_default();
    for statement in line.split(|byte| b";{}".contains(byte)) {
        let mut words = statement.fields();
        match (words.next(), words.next()) {
            (Some(b"root" | b"alias"), Some(value)) => named.folder(value),
            (Some(b"include"), Some(value)) => named.include(value),
            _ => {}
        }
    }
}

fn php_fpm(line: &[u8], named: &mut Named) {
    let line = line.trim();
    let Some((name, value)) = line.split_once_str("=") else {
        return;
    };
    let is_comment = line.starts_with(b";") || line.starts_with(b"#");
    match name.trim() {
        _ if is_comment => {}
        b"chdir" | b"php_admin_value[doc_root]" | b"php_value[doc_root]" => {
            named.folder(value.trim());
        }
        b"include" => named.include(value.trim()),
        b"php_admin_value[open_basedir]" => {
            for folder in value.trim().split_str(":") {
                named.folder(folder);
            }
        }
        _ => {}
    }
}

fn apache(line: &[u8], named: &mut Named) {
    let mut words = line.trim().fields();
    let (Some(name), Some(value)) = (words.next(), words.next()) else {
        return;
    };
    if name.eq_ignore_ascii_case(b"DocumentRoot") {
        named.folder(value);
    } else if name.eq_ignore_ascii_case(b"Include") || name.eq_ignore_ascii_case(b"IncludeOptional")
    {
        named.include(value);
    } else if name.eq_ignore_ascii_case(b"Alias") {
        words
            .next()
            .into_iter()
            .for_each(|folder| named.folder(folder));
    }
}

impl Named {
    /// Adds a folder that is absolute and fixed.
    fn folder(&mut self, value: &[u8]) {
        let value = unquoted(value);
        let is_known = self.folders.iter().any(|folder| *folder == value);
        if value.starts_with(b"/") && !value.contains(&b'$') && !is_known {
            self.folders.push(value.into());
        }
    }

    fn include(&mut self, value: &[u8]) {
        let value = unquoted(value);
        if !value.is_empty() && !value.contains(&b'$') {
            self.includes.push(value.into());
        }
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.trim_with(|character| character == '"' || character == '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_patterns_as_in_a_shell() {
        for (name, pattern, expected) in [
            ("a.conf", "*.conf", true),
            (".conf", "*.conf", false),
            ("a.conf.bak", "*.conf", false),
            ("10-site.conf", "*-*.conf", true),
            ("site", "*", true),
            ("conf", "*.conf", false),
            ("aa", "a*a", true),
            ("a", "a*a", false),
        ] {
            assert_eq!(
                matches(name.into(), pattern.into()),
                expected,
                "{name} {pattern}"
            );
        }
    }

    #[test]
    fn lines_that_name_folders_and_files_are_taken_out() {
        let texts = |list: &[&str]| list.iter().map(|it| BString::from(*it)).collect::<Vec<_>>();
        for (dialect, content, folders, includes) in [
            (
                Dialect::Nginx,
                "http { include /etc/nginx/conf.d/*.conf; server { root \"/srv/www\"; # root /no;\n location / { alias /srv/x; } root $y; } }",
                &["/srv/www", "/srv/x"][..],
                &["/etc/nginx/conf.d/*.conf"][..],
            ),
            (
                Dialect::PhpFpm,
                "[www]\n; chdir = /no\nchdir = /srv/app\ninclude=etc/php-fpm.d/*.conf\nphp_admin_value[open_basedir] = /srv/app:/srv/lib\n",
                &["/srv/app", "/srv/lib"],
                &["etc/php-fpm.d/*.conf"],
            ),
            (
                Dialect::Apache,
                "# DocumentRoot /no\nDocumentRoot \"/srv/www\"\n  Alias /icons/ \"/srv/icons/\"\nIncludeOptional sites-enabled/*.conf\n",
                &["/srv/www", "/srv/icons/"],
                &["sites-enabled/*.conf"],
            ),
        ] {
            let named = dialect.read(content.as_bytes());
            assert_eq!(
                named,
                Named {
                    folders: texts(folders),
                    includes: texts(includes)
                },
                "{dialect:?}"
            );
        }
    }

    #[test]
    fn an_include_of_itself_comes_to_an_end() {
        let mut configurations = Configurations::default();
        configurations.add("/a".into(), Dialect::Nginx, "/");
        let mut answers = Answers::default();
        answers.contents.insert(
            "/a".into(),
            b"include /a; include /b*; include b2;".to_vec(),
        );
        answers
            .contents
            .insert("/b1".into(), b"include /a;".to_vec());
        answers
            .listings
            .insert("/".into(), vec!["a".into(), "b1".into()]);
        let mut rounds = 0;
        while configurations.questions(&answers) != Questions::default() {
            rounds += 1;
            assert!(rounds < 5);
        }
        let paths: Vec<_> = configurations
            .files
            .iter()
            .map(|file| file.path.to_string())
            .collect();
        assert_eq!(paths, ["/a", "/b2", "/b1"]);
    }
}
