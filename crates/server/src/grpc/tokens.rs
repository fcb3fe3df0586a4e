//! Completion tokens as workers see them: the engine's own, with proof that this server made them.
//!
//! `<proof>.<token>`: the proof is a MAC over the rest, under a key derived from that of the store, so
//! it outlives the process. Who answers must speak for the task hub that the token names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::Engine;
use kernel::durable::WorkToken;
use ring::hmac;
use tonic::Status;

/// What the key is derived for.
const PURPOSE: &str = "completion tokens";

/// Makes tokens, and tells its own from others.
pub(super) struct Tokens {
    key: hmac::Key,
}

impl Tokens {
    pub(super) fn new(engine: &Engine) -> Self {
        let key = engine.vault().derive_key(PURPOSE);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &*key) }
    }

    /// A token for a worker.
    pub(super) fn seal(&self, token: &WorkToken) -> String {
        let text = token.to_string();
        let proof = hmac::sign(&self.key, text.as_bytes());
        format!("{}.{text}", URL_SAFE_NO_PAD.encode(proof))
    }

    /// Reads what a worker of this hub sends back.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if this server did not make it; `PERMISSION_DENIED` if it belongs to
    /// another hub.
    pub(super) fn open(&self, hub: &str, sealed: &str) -> Result<WorkToken, Status> {
        let unknown =
            || Status::invalid_argument("the completion token was not made by this server");
        let (proof, text) = sealed.split_once('.').ok_or_else(unknown)?;
        let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| unknown())?;
        // In constant time.
        hmac::verify(&self.key, text.as_bytes(), &proof).map_err(|_| unknown())?;
        let token: WorkToken = text.parse().map_err(|_| unknown())?;
        if token.machine().hub() != hub {
            let words = format!("the completion token is not one of the task hub '{hub}'");
            return Err(Status::permission_denied(words));
        }
        Ok(token)
    }
}
