//! Published packages as trees, fetched once into a cache.

use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kdbg::object::{FileMode, HashKind};

use super::git::Tree;
use super::trees::File;

/// Where a package comes from.
#[derive(Clone, Copy)]
pub(crate) enum Registry {
    /// `npm pack`.
    Npm,
    /// `pip install --target`.
    Pip,
    /// `go mod download`.
    Go,
}

/// The tree of a package's release; the reason why not when it cannot be fetched.
pub(crate) fn release(registry: Registry, name: &str, version: &str) -> Result<Tree, String> {
    let cache = cache()?;
    let directory = cache.join(format!("{}-{version}", name.replace('/', "_")));
    if !directory.exists() {
        fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
        // Fetched beside its place and renamed, so that an interrupted fetch leaves nothing behind.
        let beside = tempfile::tempdir_in(&cache).map_err(|error| error.to_string())?;
        let fetched = fetch(registry, name, version, beside.path())?;
        // Another test may have been faster.
        if let Err(error) = fs::rename(fetched, &directory)
            && !directory.exists()
        {
            return Err(error.to_string());
        }
    }
    let mut tree = Tree::new();
    read(&directory, &directory, &mut tree).map_err(|error| error.to_string())?;
    Ok(tree)
}

fn cache() -> Result<PathBuf, String> {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .map(|cache| cache.join("kdbg/fixtures"))
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set".to_owned())
}

fn fetch(
    registry: Registry,
    name: &str,
    version: &str,
    directory: &Path,
) -> Result<PathBuf, String> {
    let files = directory.join("package");
    match registry {
        Registry::Npm => {
            let package = format!("{name}@{version}");
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", &package]);
            run(npm.current_dir(directory))?;
            let archive = format!("{name}-{version}.tgz");
            let mut tar = Command::new("tar");
            tar.args(["--no-same-owner", "-xzf", &archive]);
            run(tar.current_dir(directory))?;
        }
        Registry::Pip => {
            let package = format!("{name}=={version}");
            let mut pip = Command::new("python3");
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-compile",
            ]);
            pip.args(["--only-binary", ":all:", "--target", "package", &package]);
            run(pip.current_dir(directory))?;
        }
        Registry::Go => {
            let mut go = Command::new("go");
            go.args(["mod", "download", &format!("{name}@{version}")]);
            // A cache of its own: files are made writable there, so that they can be moved and removed.
            go.env("GOMODCACHE", directory.join("cache"))
                .env("GOFLAGS", "-modcacherw");
            run(go.current_dir(directory))?;
            let downloaded = directory.join(format!("cache/{name}@{version}"));
            fs::rename(downloaded, &files).map_err(|error| error.to_string())?;
        }
    }
    Ok(files)
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("`{name}` does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or_default();
    Err(format!("`{name}` failed: {last}"))
}

fn read(root: &Path, directory: &Path, tree: &mut Tree) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read(root, &path, tree)?;
            continue;
        }
        let file = if kind.is_symlink() {
            let target = fs::read_link(&path)?.into_os_string().into_vec();
            File::new(FileMode::Symlink, target)
        } else {
            let mode = FileMode::of_file(entry.metadata()?.permissions().mode());
            File::new(mode, fs::read(&path)?)
        };
        if let Ok(below) = path.strip_prefix(root) {
            let below = below.as_os_str().as_bytes().to_vec();
            tree.insert(below, file.blob(HashKind::Sha1));
        }
    }
    Ok(())
}
