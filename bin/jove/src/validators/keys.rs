//! A validator's keys: all of one secret of 32 bytes.

use alloy_primitives::{B256, Bytes, hex, keccak256};
use jove_avc::BlsSigner;
use jove_network::Identity;
use jove_primitives::spec::{GenesisSeed, GenesisValidator};
use jove_settlement::Key;
use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

/// What a validator signs with.
pub(crate) struct Keys {
    seed: B256,
}

impl Keys {
    /// Those of a file with 64 hexadecimal digits; where there is none, a new secret is written there, for its owner's eyes alone.
    ///
    /// # Errors
    /// In words for the operator, which never repeat the secret.
    pub(crate) fn of_file(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => {
                let bytes = hex::decode(text.trim()).ok().and_then(|bytes| B256::try_from(&*bytes).ok());
                let seed = bytes.ok_or_else(|| format!("{}: not 64 hexadecimal digits", path.display()))?;
                Ok(Self { seed })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut seed = B256::ZERO;
                getrandom::fill(seed.as_mut_slice()).map_err(|error| format!("no randomness: {error}"))?;
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
                writeln!(file, "{}", hex::encode(seed)).and_then(|()| file.sync_all()).map_err(failed)?;
                Ok(Self { seed })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn derive(&self, what: &str) -> B256 {
        keccak256([b"jove/validator/", what.as_bytes(), self.seed.as_slice()].concat())
    }

    /// The operator's id, unless it has registered another: of the secret's own making.
    pub(crate) fn id(&self) -> B256 {
        self.derive("id")
    }

    /// The keys of votes and of the VRF.
    ///
    /// # Errors
    /// None that a secret of this length gives.
    pub(crate) fn signer(&self) -> Result<BlsSigner, String> {
        BlsSigner::new(self.id(), self.derive("votes").as_slice(), &self.derive("vrf").0)
            .map_err(|error| error.to_string())
    }

    /// The key that a ledger of its own is signed with.
    pub(crate) fn ledger(&self, what: &str) -> [u8; 32] {
        self.derive(&format!("ledger/{what}")).0
    }

    /// The account that a Seed Node pays its reports from.
    ///
    /// # Errors
    /// None that a secret of this length gives.
    pub(crate) fn account(&self) -> Result<Key, String> {
        Key::new(self.derive("account")).map_err(|error| error.to_string())
    }

    /// What a chain spec says of it, as a Seed Node.
    ///
    /// # Errors
    /// As [`Self::signer`].
    pub(crate) fn seed_entry(&self, identity: &Identity) -> Result<GenesisSeed, String> {
        let signer = self.signer()?;
        Ok(GenesisSeed {
            key: Bytes::copy_from_slice(&signer.public_key()),
            possession: Bytes::copy_from_slice(&signer.prove_possession()),
            account: self.account()?.address(),
            peer: identity.peer().to_string(),
            addresses: Vec::new(),
        })
    }

    /// What a chain spec says of it, as a validator.
    ///
    /// # Errors
    /// As [`Self::signer`].
    pub(crate) fn entry(&self, identity: &Identity, sequencer: bool) -> Result<GenesisValidator, String> {
        let signer = self.signer()?;
        Ok(GenesisValidator {
            id: self.id(),
            key: Bytes::copy_from_slice(&signer.public_key()),
            possession: Bytes::copy_from_slice(&signer.prove_possession()),
            vrf: signer.vrf_key().into(),
            sequencer,
            peer: identity.peer().to_string(),
            addresses: Vec::new(),
            owner: None,
        })
    }
}
