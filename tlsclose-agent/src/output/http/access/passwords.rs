//! Names and passwords (HTTP basic authentication, RFC 7617), against bcrypt hashes.
//!
//! A hash takes tens of milliseconds on purpose. So only one is computed at a time, elsewhere than
//! on the server's thread, whoever hangs up meanwhile; and what was right once is remembered as a
//! keyed hash of both.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Right answers remembered; they come from the few that know a password.
const REMEMBERED: usize = 64;

/// How long a client waits for the passwords of others.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Right,
    Wrong,
    /// Too many are asked for: this one was not looked at.
    Busy,
}

pub struct Passwords {
    users: BTreeMap<String, String>,
    /// Compared with when a name is unknown, so that the time tells nothing.
    nobody: String,
    right: Mutex<HashSet<[u64; 2]>>,
    keys: [RandomState; 2],
    one_at_a_time: OneAtATime,
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
        Ok(Self { users, nobody, right: Mutex::default(), keys, one_at_a_time: OneAtATime::new(PATIENCE) })
    }

    /// Whether the request names a user and the user's password.
    pub async fn check(self: &Arc<Self>, headers: &HeaderMap) -> Outcome {
        let Some((user, password)) = credentials(headers) else { return Outcome::Wrong };
        let seen = self.keys.each_ref().map(|key| key.hash_one((&user, &password)));
        if self.right().contains(&seen) {
            return Outcome::Right;
        }
        let passwords = Arc::clone(self);
        let is_right = move || {
            // Another request with the same may have come first.
            if passwords.right().contains(&seen) {
                return true;
            }
            let is_right = passwords.is_right(&user, &password);
            if is_right {
                passwords.remember(seen);
            }
            is_right
        };
        match self.one_at_a_time.run(is_right).await {
            Some(true) => Outcome::Right,
            Some(false) => Outcome::Wrong,
            None => Outcome::Busy,
        }
    }

    fn is_right(&self, user: &str, password: &str) -> bool {
        let known = self.users.get(user);
        let matches = bcrypt::verify(password, known.unwrap_or(&self.nobody)).unwrap_or(false);
        matches && known.is_some()
    }

    fn remember(&self, seen: [u64; 2]) {
        let mut right = self.right();
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(seen);
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashSet<[u64; 2]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that never runs beside other work of its kind.
struct OneAtATime {
    permits: Arc<Semaphore>,
    patience: Duration,
}

impl OneAtATime {
    fn new(patience: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(1)), patience }
    }

    /// None when its turn does not come in time. The permit goes with the work, which does not end
    /// when nobody waits for it any more.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await.ok()?.ok()?;
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.ok()
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_client_that_hangs_up_lets_no_second_hash_start() {
        let one_at_a_time = OneAtATime::new(Duration::from_millis(50));
        let (end, until) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let first = one_at_a_time.run(move || {
            begin.send(()).unwrap();
            until.recv().unwrap();
        });
        tokio::select! {
            _ = first => panic!("it has not ended"),
            begun = begun => begun.unwrap(),
        }
        // By now nobody waits for the first one.
        assert_eq!(one_at_a_time.run(|| ()).await, None);
        end.send(()).unwrap();
        let patient = OneAtATime { patience: Duration::from_secs(60), ..one_at_a_time };
        assert_eq!(patient.run(|| 7).await, Some(7));
    }
}
