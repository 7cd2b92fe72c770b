//! The agent carried into a container that has none, or has that of another build: any image with a shell will do.
//!
//! The shell is asked first where it may write and what it has; then the bytes go through its standard input, counted
//! by `head -c`, since an input cannot be closed over every version of the websocket's protocol. What broke off is gone
//! on with where it ended. The agent itself says its digest before it gets its final name, so half an agent never runs.
//!
//! The name says the build that it should be of. Whether it is shows when it is talked to; one that lies under a name
//! which is not its own is carried once more.

use std::{
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bstr::ByteSlice as _;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{Cluster, PodError, exec::exec};
use crate::{protocol::Hello, target::agent_binary};

/// For one question to the shell.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// For the agent's few megabytes, over the slowest line that is any use.
const PUSH_LIMIT: Duration = Duration::from_mins(2);
/// A line that breaks more often does not carry a session either.
const ATTEMPTS: usize = 3;
/// What a shell may answer.
const ANSWER_LIMIT: u64 = 4096;

/// Where files may be written that can be run. `/dev/shm` is often mounted `noexec`; trying tells.
const ASK: &str = r#"
for folder in /tmp /var/tmp /dev/shm "$HOME" .; do
  test "$2" = any && test -x "$folder/$1" && echo "there $folder" && exit
done
for folder in /tmp /var/tmp /dev/shm "$HOME" .; do
  probe="$folder/.kdbg-probe-$$"
  if (printf '#!/bin/sh\n' >"$probe" && chmod 755 "$probe" && "$probe") 2>/dev/null; then
    rm -f "$probe"
    if printf x | gzip -c 2>/dev/null | gzip -dc >/dev/null 2>&1; then packed=gzip; else packed=plain; fi
    echo "$packed $folder"
    exit
  fi
  rm -f "$probe" 2>/dev/null
done
echo none
"#;

/// Takes `$4` more bytes, and when those were the last, unpacks, checks and names the agent.
const TAKE: &str = r#"
set -e
folder=$1 name=$2 packed=$3 more=$4 digest=$5
part="$folder/.part-$6"
head -c "$more" >>"$part"
if [ "$packed" = gzip ]; then gzip -dc <"$part" >"$part.ready"; else cp "$part" "$part.ready"; fi
chmod 755 "$part.ready"
said=$("$part.ready" digest)
rm -f "$part"
if [ "$said" != "$digest" ]; then rm -f "$part.ready"; echo "wrong digest $said"; exit 1; fi
mv "$part.ready" "$folder/$name"
echo done
"#;

/// How much of a broken transfer has arrived.
const MEASURE: &str = r#"wc -c <"$1/.part-$2" 2>/dev/null || echo 0"#;

/// Whether an agent that lies there by its name will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    /// It will, as far as is known.
    Used,
    /// It has been tried.
    Replaced,
}

/// Makes this client's agent available in a container and answers its path, and whether it was there before.
pub(super) async fn provide(
    cluster: &Cluster,
    pod: &str,
    container: &str,
    image: &str,
    present: Present,
) -> Result<(String, bool), PodError> {
    let shell = Shell {
        cluster,
        pod,
        container,
    };
    let fail = |message: String| PodError::NoAgent {
        image: image.to_owned(),
        message,
    };
    let name = format!("kdbg-agent-{}", Hello::ours().name().replace(' ', "-"));
    let accepted = match present {
        Present::Used => "any",
        Present::Replaced => "none",
    };
    let answer = shell
        .run(ASK, &[&name, accepted], &[], ASK_LIMIT)
        .await
        .map_err(|reason| fail(format!("and none can be carried there: {reason}")))?;
    let (packed, folder) = match answer.split_once(' ') {
        Some(("there", folder)) => return Ok((format!("{folder}/{name}"), true)),
        Some((packed @ ("gzip" | "plain"), folder)) => (packed, folder),
        _ => {
            return Err(fail(
                "and none can be carried there: nothing may be written and run in it".to_owned(),
            ));
        }
    };
    let parcel = Parcel::get().map_err(&fail)?;
    let bytes = if packed == "gzip" {
        &parcel.gzip
    } else {
        &parcel.plain
    };
    let digest = &parcel.digest;
    tracing::info!(
        bytes = bytes.len(),
        packed,
        folder,
        "carrying the agent into the container"
    );
    let part = part_name();
    let mut broke = String::new();
    for attempt in 0..ATTEMPTS {
        let arrived = if attempt == 0 {
            0
        } else {
            shell.arrived(folder, &part).await.unwrap_or(0)
        };
        let Some(rest) = bytes.get(arrived..) else {
            break;
        };
        let more = rest.len().to_string();
        let arguments = [folder, &name, packed, &more, digest, &part];
        match shell.run(TAKE, &arguments, rest, PUSH_LIMIT).await {
            Ok(answer) if answer == "done" => return Ok((format!("{folder}/{name}"), false)),
            Ok(answer) => broke = answer,
            Err(reason) => broke = reason,
        }
        tracing::warn!(attempt, broke, "the agent did not get through");
    }
    Err(fail(format!("and carrying it there failed: {broke}")))
}

/// What has arrived is called by whoever sends it: two clients that carry the same agent at once would mix theirs, and
/// what a client left behind that was ended is not to be gone on with.
pub(super) fn part_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.unwrap_or_default().as_nanos();
    let who = format!(
        "{} {since} {:?}",
        std::process::id(),
        std::thread::current().id()
    );
    blake3::hash(who.as_bytes()).to_hex().as_str()[..16].to_owned()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The agent as it is sent. Made once: a hundred pods may want it.
struct Parcel {
    plain: Vec<u8>,
    gzip: Vec<u8>,
    /// SHA-256 of the plain bytes.
    digest: String,
}

impl Parcel {
    fn get() -> Result<Arc<Self>, String> {
        static PARCEL: Mutex<Option<Arc<Parcel>>> = Mutex::new(None);
        let mut known = PARCEL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parcel) = &*known {
            return Ok(Arc::clone(parcel));
        }
        let parcel = Arc::new(Self::make()?);
        *known = Some(Arc::clone(&parcel));
        Ok(parcel)
    }

    fn make() -> Result<Self, String> {
        let plain = agent_binary::bytes()
            .map_err(|error| format!("and this kdbg's cannot be read: {error}"))?
            .ok_or_else(|| "and this kdbg carries none".to_owned())?;
        // Better said here than by a container that would be talked to in vain.
        let ours = Hello::ours();
        if !plain.contains_str(&ours.build) {
            return Err(format!(
                "and the one that this kdbg would carry is not of its build ({})",
                ours.name()
            ));
        }
        let gzip =
            gzip(&plain).map_err(|error| format!("and this kdbg's cannot be packed: {error}"))?;
        let digest = hexadecimal(&Sha256::digest(&plain));
        Ok(Self {
            plain,
            gzip,
            digest,
        })
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A container's shell.
struct Shell<'a> {
    cluster: &'a Cluster,
    pod: &'a str,
    container: &'a str,
}

impl Shell<'_> {
    /// Runs a script with input and answers what it printed, without the last newline.
    async fn run(
        &self,
        script: &str,
        arguments: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<String, String> {
        let command = [&["sh", "-c", script, "kdbg"], arguments].concat();
        let Cluster {
            client, namespace, ..
        } = self.cluster;
        let talking = async {
            let mut program = exec(client, namespace, self.pod, self.container, &command)
                .await
                .map_err(|error| error.to_string())?;
            let (mut stdin, stdout) = (program.stdin, &mut program.stdout);
            let writing = async {
                // A program that ended early has said why.
                let _ = stdin.write_all(input).await;
                let _ = stdin.flush().await;
            };
            let mut text = String::new();
            let mut stdout = stdout.take(ANSWER_LIMIT);
            let reading = stdout.read_to_string(&mut text);
            let (read, ()) = tokio::join!(reading, writing);
            read.map_err(|error| error.to_string())?;
            let said = program.end.complaints().or_else(|| program.end.failure());
            if program.end.succeeded() {
                Ok(text.trim_end().to_owned())
            } else {
                Err(said.unwrap_or_else(|| "the connection ended".to_owned()))
            }
        };
        timeout(limit, talking)
            .await
            .map_err(|_| format!("nothing came within {} s", limit.as_secs()))?
    }

    /// How many bytes of an agent have arrived.
    async fn arrived(&self, folder: &str, part: &str) -> Option<usize> {
        let answer = self.run(MEASURE, &[folder, part], &[], ASK_LIMIT).await;
        answer.ok()?.trim().parse().ok()
    }
}
