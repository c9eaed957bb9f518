//! What files hold, whatever they are called and wherever they lie: the copies of one program in
//! fifty containers are one.
//!
//! A digest over all bytes says so, and not the build id, which stands in the file for whoever
//! made it to choose: by that, anybody could give the functions of another's program names of his own.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

/// Contents remembered before those are dropped that no module holds any more.
const TIDY_AT: usize = 2 * super::module_id::MODULES_MAX;

/// SHA-256 over all bytes that are used of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// Number of contents. Never used again for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentsId(pub u32);

/// What one or more modules hold, and what is known of it.
#[derive(Debug)]
pub struct Contents {
    pub id: ContentsId,
    pub digest: Digest,
    build_id: OnceLock<Arc<str>>,
    debug_link: OnceLock<String>,
}

impl Contents {
    /// Hexadecimal.
    pub fn build_id(&self) -> Option<&Arc<str>> {
        self.build_id.get()
    }

    /// What the file says that its separate debug file is called: any text.
    pub fn debug_link(&self) -> Option<&str> {
        self.debug_link.get().map(String::as_str)
    }

    /// The first answer stays: the bytes are the same.
    pub fn set(&self, build_id: Option<String>, debug_link: Option<String>) {
        if let Some(build_id) = build_id {
            let _ = self.build_id.set(build_id.into());
        }
        if let Some(link) = debug_link {
            let _ = self.debug_link.set(link);
        }
    }
}

/// The contents that modules hold now.
#[derive(Debug, Default)]
pub struct KnownContents {
    by_digest: HashMap<Digest, Weak<Contents>>,
    next: u32,
}

impl KnownContents {
    pub fn of(&mut self, digest: Digest) -> Arc<Contents> {
        if let Some(known) = self.by_digest.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        if self.by_digest.len() >= TIDY_AT {
            self.by_digest.retain(|_, contents| contents.strong_count() > 0);
        }
        let (build_id, debug_link) = Default::default();
        let contents = Arc::new(Contents { id: ContentsId(self.next), digest, build_id, debug_link });
        self.next += 1;
        self.by_digest.insert(digest, Arc::downgrade(&contents));
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_the_same_contents_as_long_as_somebody_holds_them() {
        let mut known = KnownContents::default();
        let digest = |number: u32| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_le_bytes());
            Digest(digest)
        };
        let first = known.of(digest(1));
        assert_eq!(known.of(digest(1)).id, first.id);
        assert_ne!(known.of(digest(2)).id, first.id);
        for number in 0..4 * TIDY_AT as u32 {
            known.of(digest(number));
            assert!(known.by_digest.len() <= TIDY_AT);
        }
        assert_eq!(known.of(digest(1)).id, first.id);
        let id = first.id;
        drop(first);
        assert_ne!(known.of(digest(1)).id, id, "a number is never used again");
    }
}
