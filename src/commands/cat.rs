//! `kdbg cat`: the content of files of the target, byte for byte.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    sync::Arc,
};

use bstr::BString;
use clap::Args;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::{
    cli::{args::TargetArgs, error::CommandError, exit::ExitStatus, printer::Printer},
    protocol::message::{FileHead, FileTail, Request},
    render::safe,
    session::{Piece, RequestError},
    target::Target,
};

/// Arguments of `kdbg cat`.
#[derive(Args, Debug)]
pub struct CatArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The files, as the process sees them; relative paths start at its working directory
    #[arg(value_name = "PATH")]
    paths: Vec<std::ffi::OsString>,
}

/// Runs `kdbg cat`.
pub async fn run(mut args: CatArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    args.paths.splice(0..0, args.target.misplaced());
    if args.paths.is_empty() {
        return Err(super::no_path());
    }
    let target = crate::commands::open(&args.target, printer).await?;
    let mut stdout = Stdout::new(printer.bytes()?);
    let mut complete = true;
    for path in args.paths {
        let path = super::target_path(path);
        let tail = copy(&target, &path, &mut stdout).await?;
        if tail.changed {
            complete = false;
            printer.warning(&format!(
                "`{}` changed while it was read: its bytes may never have stood together",
                safe(&path)
            ));
        }
    }
    stdout.finish().await?;
    target.close().await;
    Ok(ExitStatus::of_comparison(false, complete))
}

async fn copy(
    target: &Target,
    path: &BString,
    stdout: &mut Stdout,
) -> Result<FileTail, CommandError> {
    let mut reply = target.session.request(&Request::ReadFile {
        process: target.process().id,
        path: path.clone(),
    })?;
    let _: FileHead = reply.head().await?;
    while let Some(piece) = reply.next().await? {
        match piece {
            Piece::Data(bytes) => stdout.data(bytes).await?,
            Piece::Hole(length) => stdout.hole(length).await?,
            Piece::Head(_) | Piece::ErrorData(_) => return Err(RequestError::Unreadable.into()),
        }
    }
    Ok(reply.trailer()?)
}

/// Standard output. A reader that does not read must not keep Ctrl-C from working, so a thread of its own
/// waits for it.
struct Stdout {
    file: Arc<File>,
    /// It is a file that ends where we write: holes stay holes.
    keeps_holes: bool,
    ends_in_hole: bool,
}

impl Stdout {
    fn new(file: File) -> Self {
        let appends = fcntl(&file, FcntlArg::F_GETFL)
            .is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_APPEND));
        let at_end = || {
            let metadata = file.metadata().ok()?;
            let position = (&file).stream_position().ok()?;
            (metadata.is_file() && metadata.len() == position).then_some(())
        };
        Self {
            keeps_holes: !appends && at_end().is_some(),
            file: Arc::new(file),
            ends_in_hole: false,
        }
    }

    async fn data(&mut self, bytes: Vec<u8>) -> Result<(), CommandError> {
        self.ends_in_hole = false;
        self.blocking(move |mut file| file.write_all(&bytes)).await
    }

    async fn hole(&mut self, mut length: u64) -> Result<(), CommandError> {
        if self.keeps_holes {
            self.ends_in_hole = true;
            let distance = i64::try_from(length).unwrap_or(i64::MAX);
            return self
                .blocking(move |mut file| file.seek(SeekFrom::Current(distance)).map(drop))
                .await;
        }
        while length > 0 {
            let now = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(256 * 1024);
            self.blocking(move |mut file| file.write_all(&vec![0; now]))
                .await?;
            length -= now as u64;
        }
        Ok(())
    }

    async fn finish(self) -> Result<(), CommandError> {
        if !self.ends_in_hole {
            return Ok(());
        }
        self.blocking(|mut file| {
            let length = file.stream_position()?;
            file.set_len(length)
        })
        .await
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), CommandError> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || work(&file))
            .await
            .map_err(CommandError::internal)?
            .map_err(CommandError::output)
    }
}
