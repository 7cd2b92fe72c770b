//! `env`: what the target was started with. With a command or a variable to set it is the ordinary `env`, because scripts
//! call that.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    process::Command,
};

use bstr::ByteSlice as _;
use lexopt::Arg::{Long, Short, Value};

use super::{Trouble, ask};
use crate::protocol::message::Request;

/// Prints the environment of the target, or runs a command.
pub(super) fn run(arguments: &[OsString], out: &mut dyn Write) -> Result<u8, Trouble> {
    let wanted = Wanted::parse(arguments)?;
    match wanted.command.split_first() {
        Some((program, rest)) => Err(wanted.start(program, rest)),
        None if wanted.changes() => {
            let mut own = wanted.environment();
            own.try_for_each(|(name, value)| {
                out.write_all(&[name.as_bytes(), b"=", value.as_bytes()].concat())?;
                out.write_all(wanted.end())
            })?;
            Ok(0)
        }
        None => {
            print_target(wanted.end(), out)?;
            Ok(0)
        }
    }
}

/// Entry by entry, as the kernel has them.
fn print_target(end: &[u8], out: &mut dyn Write) -> Result<(), Trouble> {
    let mut block = Vec::new();
    ask::bytes(&Request::Environment(ask::target()?), |piece| {
        block.extend_from_slice(piece);
        Ok(())
    })?;
    let block = block.strip_suffix(b"\0").unwrap_or(&block);
    if block.is_empty() {
        return Ok(());
    }
    for entry in block.split_str(b"\0") {
        out.write_all(entry)?;
        out.write_all(end)?;
    }
    Ok(())
}

/// What the arguments ask for.
#[derive(Default)]
struct Wanted {
    empty: bool,
    ended_by_nul: bool,
    unset: Vec<OsString>,
    set: Vec<(OsString, OsString)>,
    command: Vec<OsString>,
}

impl Wanted {
    fn parse(arguments: &[OsString]) -> Result<Self, Trouble> {
        let mut wanted = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
        while let Some(argument) = parser.next()? {
            match argument {
                Short('i') | Long("ignore-environment") => wanted.empty = true,
                Short('0') | Long("null") => wanted.ended_by_nul = true,
                Short('u') | Long("unset") => wanted.unset.push(parser.value()?),
                Value(word) => {
                    let Some((name, value)) = word.as_bytes().split_once_str("=") else {
                        wanted.command = std::iter::once(word).chain(parser.raw_args()?).collect();
                        return Ok(wanted);
                    };
                    let (name, value) = (OsStr::from_bytes(name), OsStr::from_bytes(value));
                    wanted.set.push((name.to_owned(), value.to_owned()));
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(wanted)
    }

    /// Whether anything but the target's environment can be meant.
    fn changes(&self) -> bool {
        self.empty || !self.unset.is_empty() || !self.set.is_empty()
    }

    const fn end(&self) -> &'static [u8] {
        if self.ended_by_nul { b"\0" } else { b"\n" }
    }

    /// Our own environment with what is asked for.
    fn environment(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let kept = std::env::vars_os().filter(|(name, _)| {
            !self.empty
                && !self.unset.contains(name)
                && !self.set.iter().any(|(set, _)| set == name)
        });
        kept.chain(self.set.iter().cloned())
    }

    /// Becomes the command; returns only when that cannot be.
    fn start(&self, program: &OsStr, arguments: &[OsString]) -> Trouble {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment());
        let error = command.exec();
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => 127,
            _ => 126,
        };
        Trouble::said(code, format!("cannot run `{}`: {error}", program.display()))
    }
}
