//! Names and passwords (HTTP basic authentication, RFC 7617), against bcrypt hashes.
//!
//! A hash takes tens of milliseconds on purpose. So only one is computed at a time, elsewhere than
//! on the server's thread, and what was right once is remembered as a keyed hash of both.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::Semaphore;

/// Right answers remembered; they come from the few that know a password.
const REMEMBERED: usize = 64;

pub struct Passwords {
    users: BTreeMap<String, String>,
    /// Compared with when a name is unknown, so that the time tells nothing.
    nobody: String,
    right: Mutex<HashSet<[u64; 2]>>,
    keys: [RandomState; 2],
    one_at_a_time: Semaphore,
}

impl Passwords {
    /// # Errors
    /// When a hash is not bcrypt's.
    pub fn new(users: BTreeMap<String, String>) -> Result<Self, String> {
        for (user, hash) in &users {
            // The password does not matter: only whether the hash can be read.
            bcrypt::verify("", hash).map_err(|error| format!("basic_auth_users: {user}: no bcrypt hash: {error}"))?;
        }
        let nobody = users.values().next().cloned().unwrap_or_default();
        let keys = [RandomState::new(), RandomState::new()];
        Ok(Self { users, nobody, right: Mutex::default(), keys, one_at_a_time: Semaphore::new(1) })
    }

    /// Whether the request names a user and the user's password.
    pub async fn allow(self: &std::sync::Arc<Self>, headers: &HeaderMap) -> bool {
        let Some((user, password)) = credentials(headers) else { return false };
        let seen = self.keys.each_ref().map(|key| key.hash_one((&user, &password)));
        if self.right().contains(&seen) {
            return true;
        }
        // The semaphore is never closed.
        let Ok(_permit) = self.one_at_a_time.acquire().await else { return false };
        let passwords = std::sync::Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || passwords.is_right(&user, &password));
        if !checked.await.unwrap_or(false) {
            return false;
        }
        let mut right = self.right();
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(seen);
        true
    }

    fn is_right(&self, user: &str, password: &str) -> bool {
        let known = self.users.get(user);
        let matches = bcrypt::verify(password, known.unwrap_or(&self.nobody)).unwrap_or(false);
        matches && known.is_some()
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashSet<[u64; 2]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
