//! Identifiers as their own types, so that a commit cannot be passed where a signature is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    pub text: String,
    pub expected: &'static str,
}

/// Declares a newtype over text that is checked when it is parsed.
macro_rules! checked_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $check;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId { text: text.chars().take(100).collect(), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

checked_id!(
    /// A git commit: 40 hex digits, or 64 in a SHA-256 repository.
    CommitId, "a git commit id (40 or 64 hex digits)", |text| matches!(text.len(), 40 | 64) && is_hex(text)
);

checked_id!(
    /// What a stage depends on, hashed: 56 hex digits of SHA-224 (decisions 2.2).
    StageSignature, "a stage signature (56 hex digits)", |text| text.len() == 56 && is_hex(text)
);

checked_id!(
    /// A content digest of the OCI image specification; only `sha256` is accepted.
    Digest, "a digest (`sha256:` and 64 hex digits)",
    |text| text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && is_hex(hex))
);

checked_id!(
    /// The local id of an image. In Docker the digest of its configuration; in the embedded store a digest of its record.
    ImageId, "an image id (`sha256:` and 64 hex digits)",
    |text| text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && is_hex(hex))
);

checked_id!(
    /// A container of the runtime in use.
    ContainerId, "a container id",
    |text| !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
);

impl Digest {
    /// The digest of a finished SHA-256 computation.
    pub fn from_sha256(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(hash)))
    }

    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_sha256(&sha2::Sha256::digest(bytes))
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl ImageId {
    /// Twelve hex digits, as people see them in lists.
    pub fn short(&self) -> &str {
        &self.0["sha256:".len()..][..12]
    }
}

impl From<Digest> for ImageId {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

/// A stored stage: its signature and the millisecond it was stored at (spec/build.md 2.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId {
    pub signature: StageSignature,
    pub unique: u64,
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.signature, self.unique)
    }
}

impl FromStr for StageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId { text: text.chars().take(100).collect(), expected: "a stage id (signature-milliseconds)" };
        let (signature, unique) = text.split_once('-').ok_or_else(invalid)?;
        Ok(Self { signature: signature.parse()?, unique: unique.parse().map_err(|_| invalid())? })
    }
}

/// `prefix` and ten random letters and digits: the name of a container that nobody asked for by name.
pub fn random_name(prefix: &str) -> Result<String, crate::error::Error> {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0u8; 10];
    getrandom::fill(&mut bytes)
        .map_err(|error| crate::error::Error::environment("no random numbers").because(error))?;
    let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len()));
    Ok(format!("{prefix}{}", letters.map(|&letter| char::from(letter)).collect::<String>()))
}

/// Lower-case hex digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_only_their_own_form() {
        assert!("0123456789abcdef0123456789abcdef01234567".parse::<CommitId>().is_ok());
        assert!("0123456789ABCDEF0123456789abcdef01234567".parse::<CommitId>().is_err());
        assert!("../../etc/passwd".parse::<ContainerId>().is_err());
        assert_eq!("x".parse::<Digest>().unwrap_err().to_string(), "`x` is not a digest (`sha256:` and 64 hex digits)");
    }

    #[test]
    fn stage_id_round_trips() {
        let text = format!("{}-1596442841500", "a".repeat(56));
        assert_eq!(text.parse::<StageId>().unwrap().to_string(), text);
    }
}
