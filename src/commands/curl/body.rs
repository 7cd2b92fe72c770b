//! The body of a request: what was typed, files, and standard input. What is short goes with the request; the rest is read
//! while it is sent, so that its size is bounded by nothing.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::args::Data;
use crate::{cli::error::CommandError, session::Input};

/// So much goes to the agent in the frame of the request.
const SHORT: usize = 200 * 1024;
/// Read at once.
const PIECE: usize = 128 * 1024;
/// What `-d` leaves out of a file.
const LEFT_OUT: [u8; 3] = [b'\r', b'\n', 0];

/// A body.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A short one.
    Whole(Vec<u8>),
    /// One that is read while it is sent.
    Streamed(Arc<Parts>),
}

impl Body {
    /// Reads what is short; `None` when nothing is to be sent.
    pub(super) fn of(data: &[Data]) -> Result<Option<Self>, CommandError> {
        let Some((last, others)) = data.split_last() else {
            return Ok(None);
        };
        let mut parts = Vec::new();
        for one in others {
            parts.push(part(one)?);
            parts.push(Part::Text(b"&".to_vec()));
        }
        parts.push(part(last)?);
        let parts = Parts {
            parts,
            is_read: AtomicBool::new(false),
        };
        Ok(Some(match parts.text() {
            Some(text) => Self::Whole(text),
            None => Self::Streamed(Arc::new(parts)),
        }))
    }

    /// Its length in bytes, when that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Streamed(parts) => parts.length(),
        }
    }

    /// Fails where it cannot be sent a second time.
    pub(super) fn check_again(&self, why: &str) -> Result<(), CommandError> {
        match self {
            Self::Streamed(parts) if !parts.may_be_read_again() => {
                let error = format!("{why}, and what it is read from can be read only once");
                Err(CommandError::usage(error).hint("give the body as a file, with `@FILE`"))
            }
            Self::Whole(_) | Self::Streamed(_) => Ok(()),
        }
    }
}

/// The parts of a body, one behind the other.
#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<Part>,
    is_read: AtomicBool,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    File {
        path: PathBuf,
        /// What will be sent of it; `None` for what is no regular file.
        length: Option<u64>,
        is_binary: bool,
    },
    /// Standard input, of which this was read already.
    Input {
        begun: Vec<u8>,
        is_binary: bool,
    },
}

impl Parts {
    /// The length of all, when that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.parts.iter().map(Part::length).sum()
    }

    /// All of it, when it is short and was read already.
    fn text(&self) -> Option<Vec<u8>> {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text(text) => Some(text.as_slice()),
            Part::File { .. } | Part::Input { .. } => None,
        });
        let texts = texts.collect::<Option<Vec<_>>>()?.concat();
        (texts.len() <= SHORT).then_some(texts)
    }

    fn may_be_read_again(&self) -> bool {
        self.parts.iter().all(|part| part.length().is_some())
    }

    /// Sends all of it, as fast as it is taken. Ends early, and well, when the agent wants no more.
    pub(super) async fn send(self: &Arc<Self>, input: &Input) -> Result<(), CommandError> {
        if self.is_read.swap(true, Ordering::Relaxed) && !self.may_be_read_again() {
            return Err(CommandError::usage("the body can be read only once"));
        }
        let mut pieces_rx = self.read().map_err(CommandError::internal)?;
        while let Some(piece) = pieces_rx.recv().await {
            if !input.send(&piece?).await {
                return Ok(());
            }
        }
        input.finish();
        Ok(())
    }

    /// Reads in a thread that nobody waits for: it may hang in a read for as long as it likes.
    fn read(self: &Arc<Self>) -> io::Result<mpsc::Receiver<Result<Vec<u8>, CommandError>>> {
        // Thread -> session: what was read, or why no more is.
        let (pieces_tx, pieces_rx) = mpsc::channel(1);
        let parts = Arc::clone(self);
        let read = move || {
            for part in &parts.parts {
                let mut wanted = |piece: Vec<u8>| pieces_tx.blocking_send(Ok(piece)).is_ok();
                match part.read(&mut wanted) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        // Nobody waits for it any more.
                        let _ = pieces_tx.blocking_send(Err(error));
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("body".to_owned())
            .spawn(read)?;
        Ok(pieces_rx)
    }
}

impl Part {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Text(text) => Some(text.len() as u64),
            Self::File { length, .. } => *length,
            Self::Input { .. } => None,
        }
    }

    /// Gives its bytes away, as long as they are wanted; answers whether they were to the end.
    fn read(&self, wanted: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<bool, CommandError> {
        match self {
            Self::Text(text) => Ok(wanted(text.clone())),
            Self::File {
                path,
                length,
                is_binary,
            } => {
                let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
                let mut left = length.unwrap_or(u64::MAX);
                let goes_on = pieces(&mut file, *is_binary, &mut |mut piece| {
                    // A file that grows meanwhile is sent as long as was said.
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= piece.len() as u64;
                    piece.is_empty() || wanted(piece)
                });
                match goes_on {
                    Ok(true) if length.is_some() && left > 0 => Err(CommandError::usage(format!(
                        "`{}` has become shorter while it was sent: {left} bytes are missing",
                        path.display()
                    ))),
                    Ok(goes_on) => Ok(goes_on),
                    Err(error) => Err(unreadable(path, &error)),
                }
            }
            Self::Input { begun, is_binary } => {
                let mut read = || -> io::Result<bool> {
                    if !wanted(begun.clone()) {
                        return Ok(false);
                    }
                    pieces(&mut io::stdin(), *is_binary, wanted)
                };
                read().map_err(|error| unreadable(Path::new("standard input"), &error))
            }
        }
    }
}

/// Reads to the end, piece by piece, as long as they are wanted.
fn pieces(
    from: &mut dyn io::Read,
    is_binary: bool,
    wanted: &mut dyn FnMut(Vec<u8>) -> bool,
) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        if !wanted(cleaned(piece.to_vec(), is_binary)) {
            return Ok(false);
        }
    }
}

/// What is sent of bytes that were read.
fn cleaned(mut bytes: Vec<u8>, is_binary: bool) -> Vec<u8> {
    if !is_binary {
        bytes.retain(|byte| !LEFT_OUT.contains(byte));
    }
    bytes
}

fn part(Data { text, is_binary }: &Data) -> Result<Part, CommandError> {
    let is_binary = *is_binary;
    match text.strip_prefix('@') {
        None => Ok(Part::Text(text.clone().into_bytes())),
        Some("-") => {
            let begun = begin(&mut io::stdin())
                .map_err(|error| unreadable(Path::new("standard input"), &error))?;
            let is_all = begun.len() <= SHORT;
            let begun = cleaned(begun, is_binary);
            Ok(if is_all {
                Part::Text(begun)
            } else {
                Part::Input { begun, is_binary }
            })
        }
        Some(path) => file(Path::new(path), is_binary),
    }
}

fn file(path: &Path, is_binary: bool) -> Result<Part, CommandError> {
    let read = || -> io::Result<Part> {
        let mut file = File::open(path)?;
        let status = file.metadata()?;
        if !status.is_file() {
            return Ok(Part::File {
                path: path.to_owned(),
                length: None,
                is_binary,
            });
        }
        let begun = begin(&mut file)?;
        // Some files have a length of 0 and content, those of /proc for example.
        if begun.len() <= SHORT {
            return Ok(Part::Text(cleaned(begun, is_binary)));
        }
        let length = if is_binary {
            status.len()
        } else {
            let mut length = cleaned(begun, false).len() as u64;
            pieces(&mut file, false, &mut |piece| {
                length += piece.len() as u64;
                true
            })?;
            length
        };
        Ok(Part::File {
            path: path.to_owned(),
            length: Some(length),
            is_binary,
        })
    };
    read().map_err(|error| unreadable(path, &error))
}

/// The beginning of something: all of it when it is short, and a byte more than short otherwise.
fn begin(from: &mut dyn io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SHORT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::usage(format!("cannot read `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str, is_binary: bool) -> Data {
        Data {
            text: text.to_owned(),
            is_binary,
        }
    }

    fn sent(body: &Body) -> Vec<u8> {
        match body {
            Body::Whole(bytes) => bytes.clone(),
            Body::Streamed(parts) => {
                let mut bytes = Vec::new();
                for part in &parts.parts {
                    let mut wanted = |piece: Vec<u8>| {
                        bytes.extend(piece);
                        true
                    };
                    part.read(&mut wanted).unwrap();
                }
                bytes
            }
        }
    }

    #[test]
    fn a_long_file_is_streamed_with_its_length_and_without_line_ends_where_d_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        let line = b"twenty-one bytes long\r\n";
        std::fs::write(&path, line.repeat(20_000)).unwrap();
        let at = format!("@{}", path.display());
        for (is_binary, one) in [(true, &line[..]), (false, &line[..21])] {
            let all = [data("a=b", false), data(&at, is_binary)];
            let body = Body::of(&all).unwrap().unwrap();
            assert!(matches!(body, Body::Streamed(_)));
            let expected = [b"a=b&".as_slice(), &one.repeat(20_000)].concat();
            assert_eq!(body.length(), Some(expected.len() as u64));
            assert_eq!(sent(&body), expected);
            assert!(body.check_again("it is sent twice").is_ok());
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_sent_is_never_another_length_than_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        std::fs::write(&path, vec![b'x'; 300_000]).unwrap();
        let at = format!("@{}", path.display());
        let body = Body::of(&[data(&at, true)]).unwrap().unwrap();
        std::fs::write(&path, vec![b'x'; 400_000]).unwrap();
        assert_eq!(sent(&body).len(), 300_000);
        std::fs::write(&path, vec![b'x'; 299_999]).unwrap();
        let Body::Streamed(parts) = body else {
            panic!("it is long");
        };
        let error = parts.parts[0].read(&mut |_| true).unwrap_err();
        assert!(error.to_string().contains("1 bytes are missing"), "{error}");
    }

    #[test]
    fn what_is_short_goes_with_the_request() {
        let body = Body::of(&[data("a", false), data("b", true)]);
        assert_eq!(sent(&body.unwrap().unwrap()), b"a&b");
        assert!(Body::of(&[]).unwrap().is_none());
        let long = "x".repeat(SHORT + 1);
        let body = Body::of(&[data(&long, false)]).unwrap().unwrap();
        assert!(matches!(body, Body::Streamed(_)));
        assert_eq!(body.length(), Some(long.len() as u64));
    }
}
