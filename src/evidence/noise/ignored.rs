//! What the repository says is not part of it: `.gitignore` and `.dockerignore`, as the ref has them.

use std::{borrow::Cow, path::PathBuf};

use bstr::{BStr, BString, ByteSlice};
use gix_glob::wildmatch;

use crate::evidence::mapping::{parent, strip};

/// The ignore files of a tree.
#[derive(Default)]
pub struct Ignored {
    git: gix_ignore::Search,
    docker: Vec<DockerIgnore>,
}

/// A `.dockerignore` with the folder that builds with it take for their context.
struct DockerIgnore {
    source: BString,
    context: BString,
    /// In their order; the last that matches decides.
    rules: Vec<DockerRule>,
}

struct DockerRule {
    pattern: BString,
    is_exception: bool,
}

/// Whether a path of the reference is an ignore file, so that its content is wanted.
pub fn is_ignore_file(path: &BStr) -> bool {
    let name = parent(path).1;
    *name == ".gitignore" || name.ends_with(b".dockerignore")
}

impl Ignored {
    /// Reads the ignore files of a tree, given with their paths in the order of those.
    pub fn new(files: &[(BString, Vec<u8>)]) -> Self {
        let mut ignored = Self::default();
        // Those of inner folders come later and win.
        let mut files: Vec<&(BString, Vec<u8>)> = files.iter().collect();
        files.sort_by_key(|(path, _)| path.split_str("/").count());
        for (path, content) in files {
            if parent(path.as_ref()).1 == ".gitignore" {
                ignored.add_git(path, content);
            } else {
                ignored.docker.push(DockerIgnore::parse(path, content));
            }
        }
        ignored
    }

    fn add_git(&mut self, path: &BString, content: &[u8]) {
        let Ok(path) = path.to_os_str() else { return };
        let source = PathBuf::from("/").join(path);
        let parse = gix_ignore::search::Ignore::default();
        // Nothing is read here: an error could only come from a file system.
        let _ =
            self.git
                .add_patterns_buffer(content, source, Some(std::path::Path::new("/")), parse);
    }

    /// Why git ignores a file: the pattern, and where it stands. A file in an ignored folder is ignored.
    pub fn by_git(&self, path: &BStr) -> Option<Cow<'static, str>> {
        let ends = path
            .find_iter("/")
            .map(|slash| (slash, true))
            .chain([(path.len(), false)]);
        for (end, is_folder) in ends {
            let part = path.get(..end).unwrap_or_default().as_bstr();
            let found = self.git.pattern_matching_relative_path(
                part,
                Some(is_folder),
                gix_glob::pattern::Case::Sensitive,
            );
            let Some(found) = found.filter(|found| !found.pattern.is_negative()) else {
                continue;
            };
            let source = found.source.map_or(Cow::Borrowed(".gitignore"), |source| {
                source
                    .to_string_lossy()
                    .trim_start_matches('/')
                    .to_owned()
                    .into()
            });
            return Some(format!("`{}` in `{source}`", found.pattern).into());
        }
        None
    }

    /// Why an image is built without a file: the pattern, and where it stands.
    pub fn by_docker(&self, path: &BStr) -> Option<Cow<'static, str>> {
        self.docker.iter().find_map(|file| {
            let inner = strip(path, file.context.as_ref())?;
            let rule = file.excludes(inner)?;
            Some(format!("`{}` in `{}`", rule.pattern, file.source).into())
        })
    }
}

impl DockerIgnore {
    fn parse(path: &BString, content: &[u8]) -> Self {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let rules = content
            .lines()
            .map(ByteSlice::trim)
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
            .filter_map(|line| {
                let (is_exception, pattern) = match line.strip_prefix(b"!") {
                    Some(pattern) => (true, pattern.trim()),
                    None => (false, line),
                };
                let parts: Vec<&[u8]> = pattern
                    .split_str("/")
                    .filter(|part| !part.is_empty() && *part != b".")
                    .collect();
                let pattern: BString = bstr::join("/", parts).into();
                (!pattern.is_empty()).then_some(DockerRule {
                    pattern,
                    is_exception,
                })
            })
            .collect();
        Self {
            source: path.clone(),
            context: parent(path.as_ref()).0.to_owned(),
            rules,
        }
    }

    /// The rule that keeps a file out of the context; a rule for a folder counts for all below it.
    fn excludes(&self, path: &BStr) -> Option<&DockerRule> {
        let last = self.rules.iter().rev().find(|rule| {
            let ends = path.find_iter("/").chain([path.len()]);
            ends.into_iter().any(|end| {
                let part = path.get(..end).unwrap_or_default().as_bstr();
                wildmatch(
                    rule.pattern.as_ref(),
                    part,
                    wildmatch::Mode::NO_MATCH_SLASH_LITERAL,
                )
            })
        })?;
        (!last.is_exception).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(files: &[(&str, &str)]) -> Ignored {
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| (BString::from(*path), content.as_bytes().to_vec()))
            .collect();
        Ignored::new(&files)
    }

    #[test]
    fn git_ignores_by_pattern_folder_and_exception() {
        let ignored = ignored(&[
            (".gitignore", "*.log\n/build/\n!keep.log\nlocal_*.py\n"),
            ("web/.gitignore", "dist\n"),
        ]);
        let because = |path: &str| ignored.by_git(path.into()).map(Cow::into_owned);
        assert_eq!(
            because("a/b.log").as_deref(),
            Some("`*.log` in `.gitignore`")
        );
        assert_eq!(
            because("web/dist/x/y.js").as_deref(),
            Some("`dist` in `web/.gitignore`")
        );
        assert!(because("build/x").is_some());
        assert!(because("a/build/x").is_none());
        assert!(because("dist/x").is_none());
        assert!(because("keep.log").is_none());
        assert!(because("app.py").is_none());
    }

    #[test]
    fn docker_anchors_its_patterns_at_the_context() {
        let ignored = ignored(&[(
            "svc/.dockerignore",
            "# comment\ntests\n*.md\n**/*.tmp\n!README.md\n/docs/\n",
        )]);
        let out = |path: &str| ignored.by_docker(path.into()).is_some();
        assert!(out("svc/tests/a/b.py"));
        assert!(out("svc/CHANGES.md"));
        assert!(out("svc/a/b/c.tmp"));
        assert!(out("svc/x.tmp"));
        assert!(out("svc/docs/x"));
        assert!(!out("svc/README.md"));
        assert!(!out("svc/lib/tests/a.py"));
        assert!(!out("svc/lib/x.md"));
        assert!(!out("tests/a"));
    }
}
