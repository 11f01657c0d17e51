//! Who this node is to its peers: an Ed25519 key in a file of its own.
//!
//! The file holds the key pair in libp2p's protobuf encoding, as hexadecimal text and a line feed; mode 600. Its loss is a new peer id, which a validator
//! has to register anew.

use crate::Error;
use alloy_primitives::hex;
use libp2p::{PeerId, identity::Keypair};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// A node's identity: the key that every connection is authenticated with.
#[derive(Clone)]
pub struct Identity(Keypair);

impl Identity {
    /// A new identity, kept nowhere: for tests and nodes that need none.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The identity in the file, or a new one that is durably in it when this returns.
    ///
    /// # Errors
    /// [`Error::IdentityExposed`] if others may read the file, [`Error::IdentityDamaged`] if it holds no key, [`Error::File`].
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(Error::IdentityExposed(path.to_owned())),
            Ok(_) => Self::decode(&fs::read_to_string(path).map_err(failed)?)
                .ok_or_else(|| Error::IdentityDamaged(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate();
                let text = identity.encode().ok_or_else(|| Error::IdentityDamaged(path.to_owned()))?;
                replace(path, text.as_bytes(), 0o600).map_err(failed)?;
                Ok(identity)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The peer id that this key gives.
    pub fn peer(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }

    fn encode(&self) -> Option<String> {
        Some(format!("{}\n", hex::encode(self.0.to_protobuf_encoding().ok()?)))
    }

    fn decode(text: &str) -> Option<Self> {
        Some(Self(Keypair::from_protobuf_encoding(&hex::decode(text.trim()).ok()?).ok()?))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.peer()).finish()
    }
}

/// Puts `bytes` durably in the place of the file: a crash leaves the old or the new.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/peer");
        let first = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().peer(), first.peer());
        assert_ne!(Identity::generate().peer(), first.peer());
    }

    #[test]
    fn refuses_exposed_and_damaged_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer");
        Identity::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(Error::IdentityExposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "zz", "00", "0801"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Identity::load_or_create(&path), Err(Error::IdentityDamaged(_))), "{text}");
        }
    }
}
