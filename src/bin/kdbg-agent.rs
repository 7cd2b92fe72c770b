//! The half of kdbg that runs beside the target; `kdbg` starts it and talks to it over its standard streams.

use std::{
    ffi::OsString, fs::File, io::Write as _, os::fd::AsFd as _, process::ExitCode, time::Duration,
};

use kdbg::{
    agent::{
        Applet, Ended, Ending, digest, end_descendants, remove_all, rest, resting, serve, tell,
    },
    protocol::{Hello, VERSION},
};

const USAGE: &str = "kdbg-agent is started by kdbg; usage: kdbg-agent serve | rest --idle SECONDS | end [--force] | build | digest | --version
\
  or, in `kdbg attach`: kdbg-agent curl | dig | env | ps | ss | tree [ARGUMENTS]";

fn main() -> ExitCode {
    // Run from memory, its name would be a number, which looks like something to be afraid of. Not being able to set
    // it is no reason to stop.
    let _ = nix::sys::prctl::set_name(c"kdbg-agent");
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    if let Some(applet) = Applet::named(&called) {
        return applet.run(&arguments).into();
    }
    match arguments.as_slice() {
        [command] if command == "serve" => match converse() {
            Ok(()) => ExitCode::SUCCESS,
            Err(ended) => say(&ended.to_string(), ExitCode::from(5)),
        },
        [command, flag, idle] if command == "rest" && flag == "--idle" => match seconds(idle) {
            Some(idle) => match rest(idle) {
                Ok(()) => ExitCode::SUCCESS,
                Err(errno) => say(&format!("cannot rest: {}", errno.desc()), ExitCode::FAILURE),
            },
            None => say(USAGE, ExitCode::from(2)),
        },
        [command] if command == "end" => end(false),
        [command, flag] if command == "end" && flag == "--force" => end(true),
        [command] if command == "build" => print(&Hello::ours().name()),
        [command] if command == "digest" => match digest() {
            Ok(digest) => print(&digest),
            Err(error) => say(
                &format!("cannot read my own file: {error}"),
                ExitCode::FAILURE,
            ),
        },
        [flag] if flag == "--version" => say(
            &format!("kdbg-agent {} (protocol {VERSION})", Hello::ours().name()),
            ExitCode::SUCCESS,
        ),
        [name, rest @ ..] => match Applet::named(name) {
            Some(applet) => applet.run(rest).into(),
            None => say(USAGE, ExitCode::from(2)),
        },
        [] => say(USAGE, ExitCode::from(2)),
    }
}

fn converse() -> Result<(), Ended> {
    // Of their own, without the buffering and the locks of std's handles.
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    // What a command leaves behind becomes ours, not the child of the target's process 1, and ends with us.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let ended = serve(input, output);
    end_descendants();
    remove_all();
    ended
}

/// Says what it does before it does it: the container takes this process with it.
fn end(force: bool) -> ExitCode {
    let failed = |errno: nix::errno::Errno| {
        let message = format!("cannot end the agent: {}", errno.desc());
        say(&message, ExitCode::FAILURE)
    };
    match resting(force) {
        Ok(Ending::Resting(pid)) => {
            let said = print(&format!("told {pid} to end"));
            tell(pid).map_or_else(failed, |()| said)
        }
        Ok(Ending::InUse(others)) => {
            let numbers: Vec<_> = others.iter().map(u32::to_string).collect();
            print(&format!("in use: process {}", numbers.join(", ")));
            ExitCode::from(3)
        }
        Ok(Ending::Nobody) => say("nobody rests in this container", ExitCode::from(3)),
        Err(errno) => failed(errno),
    }
}

fn seconds(text: &OsString) -> Option<Duration> {
    let seconds = text.to_str()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Says one line where a program reads it.
fn print(line: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard output is the pipe, so everything for people goes to standard error.
fn say(message: &str, code: ExitCode) -> ExitCode {
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "{message}");
    code
}
