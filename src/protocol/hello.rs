//! The handshake: both sides say who they are before anything else.
//!
//! The first six bytes (a magic and the protocol version) keep their place for ever, so that two builds
//! that share nothing else can still tell each other apart and say so.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::VERSION;

const MAGIC: [u8; 4] = *b"kdbg";

/// Who is speaking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The release, as in `Cargo.toml`.
    pub release: String,
    /// The digest of the sources that both sides share; equal only for programs built together.
    pub build: String,
}

/// The other side cannot be talked to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The first frame is not a greeting.
    #[error("the other side does not speak kdbg's protocol")]
    NotKdbg,
    /// The protocol versions differ.
    #[error("the agent speaks protocol {theirs}, this kdbg speaks {VERSION}")]
    Protocol {
        /// The version of the other side.
        theirs: u16,
    },
    /// The protocol is the same, the build is not.
    #[error("the agent is {theirs}, this kdbg is {ours}")]
    Build {
        /// Release and build of the other side.
        theirs: String,
        /// Release and build of this side.
        ours: String,
    },
}

impl Hello {
    /// What this program says of itself.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            // In one piece in the program, so that a file can be told by it: the optimiser would take it apart.
            build: std::hint::black_box(env!("KDBG_BUILD")).to_owned(),
        }
    }

    /// The payload of the greeting.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = MAGIC.to_vec();
        payload.extend_from_slice(&VERSION.to_le_bytes());
        // Two strings cannot fail to serialise.
        payload.extend(postcard::to_stdvec(self).unwrap_or_default());
        payload
    }

    /// Reads a greeting and checks that the speaker was built together with this program.
    pub fn decode(payload: &[u8]) -> Result<Self, HelloError> {
        let (magic, rest) = payload
            .split_first_chunk::<4>()
            .ok_or(HelloError::NotKdbg)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(HelloError::NotKdbg)?;
        if *magic != MAGIC {
            return Err(HelloError::NotKdbg);
        }
        let theirs = u16::from_le_bytes(*version);
        if theirs != VERSION {
            return Err(HelloError::Protocol { theirs });
        }
        let hello: Self = postcard::from_bytes(rest).map_err(|_| HelloError::NotKdbg)?;
        let ours = Self::ours();
        if hello == ours {
            Ok(hello)
        } else {
            Err(HelloError::Build {
                theirs: hello.name(),
                ours: ours.name(),
            })
        }
    }

    /// The release and build in one word, such as `0.1.0+3f2a91c0d4e5`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}+{}", self.release, self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_starts_with_these_bytes() {
        assert_eq!(Hello::ours().encode()[..6], *b"kdbg\x03\x00");
    }

    #[test]
    fn programs_built_together_accept_each_other() {
        assert_eq!(Hello::decode(&Hello::ours().encode()), Ok(Hello::ours()));
    }

    #[test]
    fn another_protocol_version_is_named_even_when_the_rest_is_unreadable() {
        assert_eq!(
            Hello::decode(b"kdbg\x07\x00\xff\xff"),
            Err(HelloError::Protocol { theirs: 7 })
        );
    }

    #[test]
    fn another_build_of_the_same_release_is_refused() {
        let other = Hello {
            build: "feedbeef".to_owned(),
            ..Hello::ours()
        };
        assert!(
            matches!(Hello::decode(&other.encode()), Err(HelloError::Build { theirs, .. }) if theirs.ends_with("+feedbeef"))
        );
    }

    #[test]
    fn anything_else_is_not_kdbg() {
        for payload in [&b""[..], b"kdb", b"SSH-2.0-x", b"kdbg\x03\x00"] {
            assert_eq!(
                Hello::decode(payload),
                Err(HelloError::NotKdbg),
                "{payload:?}"
            );
        }
    }
}
