//! The one way out: data to standard output, everything else to standard error.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::AsFd as _,
    sync::{Mutex, PoisonError},
};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use super::{
    args::{ColorWhen, Global},
    error::CommandError,
    progress::Progress,
};

/// Owns standard output and standard error.
pub struct Printer {
    data: Data,
    stdout_colours: bool,
    stderr_choice: ColorChoice,
    quiet: bool,
    progress: bool,
}

/// Where data goes.
enum Data {
    /// Bytes go out as they are: a stream that strips colours would also strip NUL and what is no UTF-8.
    Stdout(BufWriter<io::Stdout>),
    /// Kept, with the warnings that came with it, until all of several answers are there.
    Kept {
        bytes: Vec<u8>,
        warnings: Mutex<Vec<String>>,
        unordered: Option<Vec<Vec<u8>>>,
        essence: Option<Vec<u8>>,
        outline: Option<Vec<String>>,
    },
    /// There is none: this printer is for messages.
    Nowhere(io::Sink),
}

/// What was printed instead of going out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The data.
    pub data: Vec<u8>,
    /// What the user should act on.
    pub warnings: Vec<String>,
    /// What the answer consists of, when the order of its parts says nothing; each as it is, also where the data hides it.
    pub unordered: Option<Vec<Vec<u8>>>,
    /// What two answers must have in common to be alike, when that is not all of them.
    pub essence: Option<Vec<u8>>,
    /// What the answer comes to, in lines whose order says nothing, when the data has what differs at every look: times, counts,
    /// the ports of this moment.
    pub outline: Option<Vec<String>>,
}

impl Printer {
    /// A printer for what was asked on the command line.
    pub fn new(global: &Global) -> Self {
        let choice = |automatic: ColorChoice| match global.color {
            ColorWhen::Auto => automatic,
            ColorWhen::Always => ColorChoice::Always,
            ColorWhen::Never => ColorChoice::Never,
        };
        let stdout_choice = choice(AutoStream::choice(&io::stdout()));
        let stderr_choice = choice(AutoStream::choice(&io::stderr()));
        Self {
            data: Data::Stdout(BufWriter::with_capacity(64 * 1024, io::stdout())),
            stdout_colours: stdout_choice != ColorChoice::Never,
            stderr_choice,
            quiet: global.quiet,
            progress: !global.quiet && global.verbose == 0 && io::stderr().is_terminal(),
        }
    }

    /// A printer that keeps what it is given, for one of several answers. Its notes are lost: they say what the
    /// answers' common heading says.
    #[must_use]
    pub fn keeping(&self) -> Self {
        Self {
            data: Data::Kept {
                bytes: Vec::new(),
                warnings: Mutex::default(),
                unordered: None,
                essence: None,
                outline: None,
            },
            stdout_colours: self.stdout_colours,
            stderr_choice: self.stderr_choice,
            quiet: true,
            progress: false,
        }
    }

    /// A printer for messages only, beside this one.
    #[must_use]
    pub fn messages(&self) -> Self {
        Self {
            data: Data::Nowhere(io::sink()),
            ..*self
        }
    }

    /// What was kept.
    pub fn into_kept(self) -> Kept {
        match self.data {
            Data::Stdout(_) | Data::Nowhere(_) => Kept::default(),
            Data::Kept {
                bytes,
                warnings,
                unordered,
                essence,
                outline,
            } => Kept {
                data: bytes,
                unordered,
                essence,
                outline,
                warnings: warnings
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner),
            },
        }
    }

    /// Says by what an answer is compared with those of other pods, when the order of its lines says nothing.
    pub fn compare_by<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) {
        if let Data::Kept { unordered, .. } = &mut self.data {
            *unordered = Some(parts.map(<[u8]>::to_vec).collect());
        }
    }

    /// Says by what an answer is compared with those of other pods, when parts of it say nothing.
    pub fn compare_as(&mut self, bytes: Vec<u8>) {
        if let Data::Kept { essence, .. } = &mut self.data {
            *essence = Some(bytes);
        }
    }

    /// Says what an answer comes to: by these lines it is compared with those of other pods, and where it differs they are
    /// what is shown of it.
    pub fn compare_by_outline(&mut self, lines: impl IntoIterator<Item = String>) {
        if let Data::Kept { outline, .. } = &mut self.data {
            *outline = Some(lines.into_iter().collect());
        }
    }

    /// Where data goes. It is buffered; [`Self::finish`] writes the rest.
    pub fn data(&mut self) -> &mut dyn Write {
        match &mut self.data {
            Data::Stdout(stdout) => stdout,
            Data::Kept { bytes, .. } => bytes,
            Data::Nowhere(sink) => sink,
        }
    }

    /// Standard output itself, for whoever leaves holes in it or waits for its reader in a thread.
    pub fn bytes(&mut self) -> Result<File, CommandError> {
        self.finish()?;
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        Ok(stdout.map_err(CommandError::output)?.into())
    }

    /// Whether data may carry colours.
    pub const fn colours_data(&self) -> bool {
        self.stdout_colours
    }

    /// Whether messages may carry colours.
    pub fn colours_errors(&self) -> bool {
        self.stderr_choice != ColorChoice::Never
    }

    /// The width of the terminal that data goes to; `None` when it goes elsewhere.
    pub fn width(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
    }

    /// Writes a value as JSON, indented, with a newline.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), CommandError> {
        let data = self.data();
        serde_json::to_writer_pretty(&mut *data, value)
            .map_err(|error| CommandError::output(error.into()))?;
        data.write_all(b"\n").map_err(CommandError::output)
    }

    /// Writes what is still buffered.
    pub fn finish(&mut self) -> Result<(), CommandError> {
        self.data().flush().map_err(CommandError::output)
    }

    /// Says something that explains the data, unless told to be quiet.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.message("note", AnsiColor::Cyan.on_default(), message);
        }
    }

    /// Says something that the user should act on.
    pub fn warning(&self, message: &str) {
        if let Data::Kept { warnings, .. } = &self.data {
            let mut warnings = warnings.lock().unwrap_or_else(PoisonError::into_inner);
            return warnings.push(message.to_owned());
        }
        self.message("warning", AnsiColor::Yellow.on_default().bold(), message);
    }

    /// Says what the user can do about something that could not be read.
    pub fn hint(&self, message: &str) {
        if matches!(self.data, Data::Kept { .. }) {
            // With the name of the pod for which it holds.
            return self.warning(message);
        }
        self.message("hint", AnsiColor::Cyan.on_default().bold(), message);
    }

    /// Prints an error and its hints.
    pub fn error(&self, error: &CommandError) {
        self.message(
            "error",
            AnsiColor::Red.on_default().bold(),
            &error.to_string(),
        );
        for hint in error.all_hints() {
            self.message("hint", AnsiColor::Cyan.on_default().bold(), hint);
        }
    }

    fn message(&self, label: &str, style: Style, message: &str) {
        let mut stderr = AutoStream::new(io::stderr(), self.stderr_choice).lock();
        let message = crate::render::safe_lines(message);
        // Without a standard error there is nobody to tell.
        let _ = writeln!(stderr, "{style}{label}{style:#}: {message}");
    }

    /// Shows what is going on once it has taken a second, on a terminal only. Ends when it is dropped.
    pub fn progress(&self, doing: impl Into<String>) -> Progress {
        Progress::start(doing.into(), self.progress)
    }
}
