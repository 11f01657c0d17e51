//! Tokens of workers: JSON Web Tokens (RFC 7519) by HMAC-SHA-256, as the Engine API has them.

use crate::Error;
use alloy_primitives::{B256, hex};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// How far a token's time may be off, in seconds.
const WINDOW: u64 = 60;
/// Most bytes of a worker's name.
const MAX_NAME: usize = 64;

/// What controller and workers share.
#[derive(Clone)]
pub struct Secret(B256);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    /// When it was issued, in seconds since the Unix epoch.
    iat: u64,
    /// The worker.
    id: String,
}

impl Secret {
    /// One that nobody knows.
    pub fn random() -> Self {
        Self(B256::random())
    }

    /// That of a file: 64 hexadecimal digits, with or without 0x. A file that is not there is made, for its owner alone to read, if `make` says so.
    ///
    /// # Errors
    /// [`Error::Secret`].
    pub fn of_file(path: &Path, make: bool) -> Result<Self, Error> {
        let words = |error: &dyn fmt::Display| Error::Secret(format!("{}: {error}", path.display()));
        match fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map(Self).map_err(|_| words(&"it is not 32 bytes in hexadecimal")),
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                let secret = Self::random();
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let written = file.and_then(|mut file| {
                    file.write_all(hex::encode(secret.0).as_bytes())?;
                    file.sync_all()
                });
                written.map(|()| secret).map_err(|error| words(&error))
            }
            Err(error) => Err(words(&error)),
        }
    }

    /// A token of a worker, for the next minute.
    ///
    /// # Errors
    /// [`Error::Secret`] if the name is longer than 64 bytes.
    pub fn token(&self, worker: &str) -> Result<String, Error> {
        if worker.is_empty() || worker.len() > MAX_NAME {
            return Err(Error::Secret("a worker's name has 1 to 64 bytes".into()));
        }
        let claims = Claims { iat: now(), id: worker.into() };
        let key = EncodingKey::from_secret(self.0.as_slice());
        encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|error| Error::Secret(error.to_string()))
    }

    /// The worker that a token names, if it is by this secret, and of now.
    pub fn worker(&self, token: &str) -> Option<String> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(self.0.as_slice());
        let Claims { iat, id } = decode(token, &key, &validation).ok()?.claims;
        (iat.abs_diff(now()) <= WINDOW && !id.is_empty() && id.len() <= MAX_NAME).then_some(id)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn signed(secret: &Secret, iat: u64, id: &str, algorithm: Algorithm) -> String {
        let claims = Claims { iat, id: id.into() };
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.0.as_slice())).unwrap()
    }

    #[test]
    fn a_token_names_its_worker_for_a_minute() {
        let secret = Secret::random();
        assert_eq!(secret.worker(&secret.token("a").unwrap()).as_deref(), Some("a"));
        for (token, why) in [
            (Secret::random().token("a").unwrap(), "another secret"),
            (signed(&secret, now() - 70, "a", Algorithm::HS256), "old"),
            (signed(&secret, now() + 70, "a", Algorithm::HS256), "of the future"),
            (signed(&secret, now(), "a", Algorithm::HS512), "another algorithm"),
            (signed(&secret, now(), "", Algorithm::HS256), "nobody"),
            (signed(&secret, now(), &"a".repeat(65), Algorithm::HS256), "a long name"),
            // {"alg":"none"} and claims without a signature.
            (format!("eyJhbGciOiJub25lIn0.{}.", secret.token("a").unwrap().split('.').nth(1).unwrap()), "unsigned"),
            (String::new(), "nothing"),
        ] {
            assert_eq!(secret.worker(&token), None, "{why}");
        }
        assert!(secret.token("").is_err() && secret.token(&"a".repeat(65)).is_err());
    }

    #[test]
    fn a_secret_is_kept_in_a_file_of_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt.hex");
        assert!(Secret::of_file(&path, false).is_err());
        let secret = Secret::of_file(&path, true).unwrap();
        assert_eq!(Secret::of_file(&path, true).unwrap().0, secret.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{secret:?}").contains(&hex::encode(secret.0)[..8]));
        fs::write(&path, "0x1234").unwrap();
        assert!(matches!(Secret::of_file(&path, true), Err(Error::Secret(_))));
    }
}
