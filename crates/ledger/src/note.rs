//! Checkpoints as signed notes: [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint) and [signed-note](https://c2sp.org/signed-note), with Ed25519.
//!
//! A key has a name, which is the first line of what it signs. Its id is the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key); a
//! signature line has base64(id ‖ signature). A verifying key is written `name+id+base64(0x01 ‖ public key)`, its id in hexadecimal.

use crate::Error;
use alloy_primitives::{B256, hex};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};
use tlog_tiles::{Checkpoint as Body, Hash};

/// The type of a signature: Ed25519.
const ED25519: u8 = 1;
/// The longest note that is read, in bytes.
pub(crate) const MAX_NOTE: usize = 16 * 1024;
/// The longest name of a key.
const MAX_NAME: usize = 256;

/// A key that signs a ledger's checkpoints.
#[derive(Clone)]
pub struct Key {
    public: VerifyingKey,
    secret: ed25519_dalek::SigningKey,
}

impl Key {
    /// The key of a ledger. The name is the ledger's origin: say, `example.com/5683/blocks`.
    ///
    /// # Errors
    /// [`Error::Key`] if the name is empty, too long, or has white space, control characters or a plus sign.
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, Error> {
        let secret = ed25519_dalek::SigningKey::from_bytes(secret);
        let public = VerifyingKey::new(name, &secret.verifying_key().to_bytes())?;
        Ok(Self { public, secret })
    }

    /// What others check its signatures with.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs a tree's size and root.
    pub(crate) fn sign(&self, size: u64, root: Hash) -> Checkpoint {
        let text = format!("{}\n{size}\n{root}\n", self.public.name);
        let signature = self.secret.sign(text.as_bytes()).to_bytes();
        let line = BASE64.encode([&self.public.id[..], &signature].concat());
        let note = format!("{text}\n— {} {line}\n", self.public.name);
        Checkpoint { size, root: B256::new(root.0), note }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public)
    }
}

/// What a ledger's checkpoints are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// A key by its parts.
    ///
    /// # Errors
    /// [`Error::Key`] if the name is none, or the bytes are no key.
    pub fn new(name: &str, key: &[u8; 32]) -> Result<Self, Error> {
        let refused = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > MAX_NAME || name.contains(refused) {
            return Err(Error::Key("its name"));
        }
        let point = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| Error::Key("its bytes are no point"))?;
        let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(key).finalize();
        let mut id = [0; 4];
        id.copy_from_slice(&hash[..4]);
        Ok(Self { name: name.to_owned(), id, key: point })
    }

    /// The name: the ledger's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a checkpoint and checks its signature by this key; others' signatures are not looked at.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn open(&self, note: &str) -> Result<Checkpoint, Error> {
        if note.len() > MAX_NOTE {
            return Err(Error::Checkpoint("it is too long"));
        }
        let text = self.verify(note)?;
        let body = Body::from_bytes(text.as_bytes()).map_err(|_| Error::Checkpoint("it is malformed"))?;
        if body.origin() != self.name {
            return Err(Error::Checkpoint("it is of another ledger"));
        }
        Ok(Checkpoint { size: body.size(), root: B256::new(body.hash().0), note: note.to_owned() })
    }

    /// The text of a signed note, if it has this key's signature.
    fn verify<'a>(&self, note: &'a str) -> Result<&'a str, Error> {
        const MALFORMED: Error = Error::Checkpoint("it is no signed note");
        let split = note.rfind("\n\n").ok_or(MALFORMED)?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let mut signed = false;
        for line in signatures.strip_suffix('\n').ok_or(MALFORMED)?.split('\n') {
            let (name, signature) = line.strip_prefix("— ").and_then(|line| line.split_once(' ')).ok_or(MALFORMED)?;
            let signature = BASE64.decode(signature).map_err(|_| MALFORMED)?;
            let Some((id, signature)) = signature.split_first_chunk::<4>() else { return Err(MALFORMED) };
            if name != self.name || *id != self.id {
                continue;
            }
            let signature = Signature::from_slice(signature).map_err(|_| MALFORMED)?;
            if self.key.verify_strict(text.as_bytes(), &signature).is_err() {
                return Err(Error::Checkpoint("its signature is wrong"));
            }
            signed = true;
        }
        if signed { Ok(text) } else { Err(Error::Checkpoint("it is not signed by this key")) }
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode([&[ED25519][..], self.key.as_bytes()].concat());
        write!(f, "{}+{}+{key}", self.name, hex::encode(self.id))
    }
}

impl FromStr for VerifyingKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Key("it is not name+id+key"));
        };
        let bytes = BASE64.decode(key).map_err(|_| Error::Key("it is no base64"))?;
        let Ok([ED25519, rest @ ..]) = <[u8; 33]>::try_from(bytes) else { return Err(Error::Key("it is not Ed25519")) };
        let key = Self::new(name, &rest)?;
        if hex::encode(key.id) == id { Ok(key) } else { Err(Error::Key("its id is wrong")) }
    }
}

/// A tree's size and root, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Leaves.
    pub size: u64,
    /// The root.
    pub root: B256,
    /// The signed note.
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann \
        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_that_go_signed_is_verified() {
        let key: VerifyingKey = GO_KEY.parse().expect("a key");
        assert_eq!(key.to_string(), GO_KEY);
        assert!(key.verify(GO_NOTE).expect("signed").ends_with("problem is.\n"));
        let altered = GO_NOTE.replacen("answer", "answes", 1);
        assert!(matches!(key.verify(&altered), Err(Error::Checkpoint("its signature is wrong"))));
        assert!(matches!(key.open(GO_NOTE), Err(Error::Checkpoint("it is malformed"))), "signed, but no checkpoint");
    }

    #[test]
    fn what_is_no_checkpoint_of_the_key_is_refused() {
        let key = Key::new("jove.test/blocks", &[7; 32]).expect("a key");
        let public = key.verifying_key();
        assert_eq!(public.to_string().parse::<VerifyingKey>().expect("a key"), *public);
        let checkpoint = key.sign(12, Hash([9; 32]));
        assert_eq!(public.open(&checkpoint.note).expect("signed"), checkpoint);
        let other = Key::new("jove.test/blocks", &[8; 32]).expect("a key");
        assert!(matches!(other.verifying_key().open(&checkpoint.note), Err(Error::Checkpoint(_))));
        let renamed = VerifyingKey::new("jove.test/flagged", public.key.as_bytes()).expect("a key");
        assert!(matches!(renamed.open(&checkpoint.note), Err(Error::Checkpoint(_))));
        // a second signature, by another, changes nothing; one in its name does
        let cosigned = format!("{}{}", checkpoint.note, "— witness AAAAAAAAAAA=\n");
        assert_eq!(public.open(&cosigned).expect("signed").size, 12);
        let note = &checkpoint.note;
        for broken in [
            String::new(),
            "\n\n".to_owned(),
            note.replacen("\n12\n", "\n13\n", 1),
            note.replacen("\n12\n", "\n012\n", 1),
            note.trim_end().to_owned(),
            note.replacen("— ", "- ", 1),
            note.replacen("\n\n", "\n", 1),
            format!("{note}\n"),
            "x".repeat(MAX_NOTE + 1),
        ] {
            assert!(matches!(public.open(&broken), Err(Error::Checkpoint(_))), "{broken}");
        }
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
            assert!(matches!(Key::new(name, &[1; 32]), Err(Error::Key(_))), "{name:?}");
        }
        for text in ["", "a+b", "a+00000000+AQ==", &GO_KEY.replacen("c74f20a3", "c74f20a4", 1)] {
            assert!(matches!(text.parse::<VerifyingKey>(), Err(Error::Key(_))), "{text}");
        }
    }
}
