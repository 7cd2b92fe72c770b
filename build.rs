//! Names the build, and in a release build compiles the agent and puts it inside `kdbg`.
//!
//! The agent is another program with other features and flags: static, and without kube, tokio or clap.
//! Cargo cannot say that of one package yet (artifact dependencies are unstable), so a release build of the
//! client runs a second `cargo build` here. A debug build does not: there `kdbg` uses the `kdbg-agent`
//! beside it, and `cargo check`, clippy and the tests cost nothing more.
//!
//! `KDBG_AGENT_TARGET` chooses the agent's target (default: the client's own architecture, musl when its
//! standard library is installed, else glibc linked statically).

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What both programs are made of: equal digests mean that they were built together.
const SHARED: [&str; 5] = [
    "src/agent",
    "src/object.rs",
    "src/protocol",
    "src/sys",
    "Cargo.lock",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    println!("cargo::rustc-check-cfg=cfg(embedded_agent)");
    println!("cargo::rerun-if-env-changed=KDBG_AGENT_TARGET");
    for path in SHARED.into_iter().chain([
        "build.rs",
        "Cargo.toml",
        "src/bin/kdbg-agent.rs",
        "src/lib.rs",
    ]) {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-env=KDBG_BUILD={}", build_name()?);
    if env::var_os("CARGO_FEATURE_CLIENT").is_some() && env::var("PROFILE")? == "release" {
        let out = PathBuf::from(env::var("OUT_DIR")?);
        let agent = build_agent(&out)?;
        fs::write(
            out.join("kdbg-agent.zst"),
            zstd::encode_all(&*fs::read(agent)?, 19)?,
        )?;
        println!("cargo::rustc-cfg=embedded_agent");
    }
    Ok(())
}

/// The digest of the shared sources, cut to twelve digits.
fn build_name() -> io::Result<String> {
    let mut files = Vec::new();
    for path in SHARED {
        collect(Path::new(path), &mut files)?;
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for path in files {
        hasher.update(path.to_string_lossy().as_bytes());
        hasher.update(&fs::read(&path)?);
    }
    Ok(hasher.finalize().to_hex().chars().take(12).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

fn build_agent(out: &Path) -> Result<PathBuf> {
    let target = env::var("KDBG_AGENT_TARGET").or_else(|_| agent_target())?;
    // A folder of its own: the outer cargo holds the lock of the usual one.
    let folder = out.join("agent");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args([
            "build",
            "--locked",
            "--bin",
            "kdbg-agent",
            "--profile",
            "agent",
        ])
        .args([
            "--no-default-features",
            "--features",
            "agent",
            "--target",
            &target,
        ])
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    // These describe the outer build. With its features, the inner one would build an agent in turn, for ever.
    let outer = |name: &str| {
        name.starts_with("CARGO_FEATURE_")
            || name.starts_with("CARGO_CFG_")
            || ["CARGO_BUILD_TARGET", "CARGO_MAKEFLAGS", "RUSTFLAGS"].contains(&name)
    };
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(outer)) {
        cargo.env_remove(name);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("the agent did not build for {target} ({status})").into());
    }
    Ok(folder.join(target).join("agent").join("kdbg-agent"))
}

/// musl when it is installed, because its programs are smaller; glibc is there wherever Rust is.
fn agent_target() -> Result<String> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH")?;
    let musl = format!("{architecture}-unknown-linux-musl");
    let output = Command::new(env::var("RUSTC")?)
        .args(["--print", "target-libdir", "--target", &musl])
        .output()?;
    let folder = String::from_utf8(output.stdout)?;
    let installed = Path::new(folder.trim())
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    Ok(if installed {
        musl
    } else {
        format!("{architecture}-unknown-linux-gnu")
    })
}
