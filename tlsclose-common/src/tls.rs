//! TLS from the outside: follows the record headers of one direction of a connection.
//!
//! Every TLS library ends in a socket, and every record starts with five bytes in clear (RFC 8446,
//! section 5.1; RFC 5246, section 6.2.1): its type, a version and its length. That is enough to
//! tell where records begin, however they are split over calls, and whether the last one was an
//! alert: TLS 1.2 says so in the type, TLS 1.3 hides it as application data, but only a two-byte
//! message is as short as a `close_notify`. Nothing but headers is looked at, and of a header only
//! the type and the length are kept.

use bytemuck::{Pod, Zeroable};

/// Bytes of a record header.
pub const HEADER: u32 = 5;

/// Longest record body: 2^14 and the most that TLS 1.2 lets encryption add.
const LONGEST: u16 = 16_384 + 2_048;

/// A `close_notify` of TLS 1.3: two bytes, the hidden type, a tag of 16 bytes.
const ALERT_13: u16 = 19;
/// The same with the tag of 8 bytes of the CCM_8 cipher suites.
const ALERT_13_CCM8: u16 = 11;
/// The same, padded by 16 bytes as JSSE does; it sends `user_canceled` and `close_notify`.
const ALERT_13_PADDED: u16 = 35;
/// No encrypted Finished of TLS 1.2 is longer (an explicit vector, 16 bytes padded, a MAC of 48).
const LONGEST_FINISHED_12: u16 = 100;
/// Encrypted records of TLS 1.3 that a handshake takes at most: a Certificate of two, CertificateVerify, Finished.
const HANDSHAKE_RECORDS_13: u8 = 4;
/// The shortest Finished of TLS 1.3 is 45 bytes: what is longer than an alert proves a session.
const LONGEST_ALERT_13: u16 = 40;

/// Types of records: `ContentType` of RFC 8446, section 5.1 (RFC 6520 for heartbeats).
pub mod content_type {
    /// Part of the handshake; sent for show in TLS 1.3.
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// An alert, such as close_notify.
    pub const ALERT: u8 = 21;
    /// A message of the handshake.
    pub const HANDSHAKE: u8 = 22;
    /// Data; in TLS 1.3 whatever is encrypted.
    pub const APPLICATION_DATA: u8 = 23;
    /// RFC 6520.
    pub const HEARTBEAT: u8 = 24;
}

/// Values of [`Direction::stage`].
pub mod stage {
    /// Nothing that looks like TLS yet.
    pub const QUIET: u8 = 0;
    /// Handshake in clear.
    pub const HELLO: u8 = 1;
    /// A ChangeCipherSpec has been seen.
    pub const CHANGED: u8 = 2;
    /// Encrypted by TLS 1.0 to 1.2.
    pub const ENCRYPTED_12: u8 = 3;
    /// Encrypted by TLS 1.3.
    pub const ENCRYPTED_13: u8 = 4;
    /// Encrypted by the kernel, which says the type of a record in a control message.
    pub const KERNEL: u8 = 6;
    /// Out of step, or bytes went a way that is not watched: nothing is known any more.
    pub const LOST: u8 = 5;
}

/// Values of [`Direction::phase`], which counts the encrypted records of a handshake of TLS 1.3 until one is known to be
/// its last.
mod phase {
    pub const FIRST: u8 = 0;
    /// The handshake has passed.
    pub const FINISHED: u8 = 253;
    /// Data of the program has passed.
    pub const DATA: u8 = 254;
    /// The server's: it is not looked at. What follows its handshake may be tickets.
    pub const SERVER: u8 = 255;
}

/// What is known of one direction, as bits: what [`Direction::marks`] gives.
pub mod mark {
    /// The handshake was done in this direction: there was a session to say goodbye to.
    pub const ESTABLISHED: u8 = 1;
    /// Nothing can be said about its end.
    pub const LOST: u8 = 2;
    /// Its last record looks like a `close_notify`.
    pub const GOODBYE: u8 = 4;
    /// Its last record may be one, or not.
    pub const MAYBE: u8 = 8;
    /// That record was sent, or read, after the other direction had ended.
    pub const LATE: u8 = 16;
}

/// One direction of a connection. All zero is one of which nothing has been seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Direction {
    /// Bytes of a header that is not complete, in its low end.
    header: u32,
    /// TCP's sequence number behind the last byte that was followed.
    pub position: u32,
    /// Bytes of the current record's body still to come.
    remaining: u16,
    /// Body lengths of the last record and of the one before it.
    last: u16,
    before: u16,
    /// Bytes in `header`.
    have: u8,
    stage: u8,
    /// Type of the last record.
    last_type: u8,
    /// [`mark::ESTABLISHED`] and [`mark::LATE`].
    marks: u8,
    /// Calls in which nothing looked like TLS.
    pub quiet_calls: u8,
    phase: u8,
}

impl Direction {
    /// Nothing seen yet.
    pub const NEW: Self = Self {
        header: 0,
        position: 0,
        remaining: 0,
        last: 0,
        before: 0,
        have: 0,
        stage: stage::QUIET,
        last_type: 0,
        marks: 0,
        quiet_calls: 0,
        phase: phase::FIRST,
    };

    /// These bytes may be the first header of TLS in a direction: a handshake, or an alert in
    /// clear.
    #[inline(always)]
    pub fn begins(header: [u8; 5]) -> bool {
        let length = u16::from_be_bytes([header[3], header[4]]);
        let starts = (header[0] == content_type::HANDSHAKE && (4..=LONGEST).contains(&length))
            || (header[0] == content_type::ALERT && length == 2);
        starts && header[1] == 3 && header[2] <= 4
    }

    /// Nothing has been seen that tells TLS from anything else.
    #[inline(always)]
    pub fn is_quiet(&self) -> bool {
        self.stage == stage::QUIET
    }

    /// It is not followed any more.
    #[inline(always)]
    pub fn is_lost(&self) -> bool {
        self.stage == stage::LOST
    }

    /// It is known where its records begin, by their headers.
    #[inline(always)]
    pub fn is_in_records(&self) -> bool {
        (stage::HELLO..=stage::ENCRYPTED_13).contains(&self.stage)
    }

    /// Gives up on this direction.
    #[inline(always)]
    pub fn lose(&mut self) {
        self.stage = stage::LOST;
    }

    /// Bytes of the record's body that come next; 0 when a header does.
    #[inline(always)]
    pub fn body(&self) -> u32 {
        u32::from(self.remaining)
    }

    /// Bytes of the header that are still to come: 1 to 5.
    #[inline(always)]
    pub fn wants(&self) -> u32 {
        HEADER - u32::from(self.have)
    }

    /// The kernel makes, or takes apart, the records of this direction.
    #[inline(always)]
    pub fn is_of_kernel(&self) -> bool {
        self.stage == stage::KERNEL
    }

    /// What is sent here is a server's.
    #[inline(always)]
    pub fn serves(&mut self) {
        self.phase = phase::SERVER;
    }

    /// The kernel made or took apart a record of this type. Its headers pass nobody else.
    #[inline(always)]
    pub fn record_of_kernel(&mut self, kind: u8) {
        self.stage = stage::KERNEL;
        self.header = 0;
        self.have = 0;
        self.remaining = 0;
        self.last_type = kind;
        self.marks &= !mark::LATE;
        if kind == content_type::APPLICATION_DATA && self.phase != phase::SERVER {
            self.phase = phase::DATA;
        }
    }

    /// A header begins with the next byte.
    #[inline(always)]
    pub fn is_between_records(&self) -> bool {
        self.remaining == 0 && self.have == 0
    }

    /// The last record holds data of the program, as far as headers tell; in TLS 1.3 it may hold a handshake.
    #[inline(always)]
    pub fn carries_data(&self) -> bool {
        self.last_type == content_type::APPLICATION_DATA && !self.says_goodbye()
    }

    /// It does, and no handshake. TLS 1.3 hides handshakes and tickets: then only what a client sends after its Finished
    /// counts, and what a server sends after it has read some of that.
    #[inline(always)]
    pub fn carries_data_for_sure(&self, other: &Self) -> bool {
        let asked = if self.phase == phase::SERVER { other.phase } else { self.phase };
        self.carries_data() && (self.stage != stage::ENCRYPTED_13 || asked == phase::DATA)
    }

    /// `length` bytes of the body have passed, at most [`Self::body`].
    #[inline(always)]
    pub fn skip(&mut self, length: u32) {
        self.remaining = self.remaining.saturating_sub(length as u16);
    }

    /// Takes in `length` bytes of a header (1 to [`Self::wants`]), which are the first of `bytes`;
    /// the others are zero.
    #[inline(always)]
    pub fn header(&mut self, bytes: [u8; 8], length: u32) {
        let new = u64::from_be_bytes(bytes) >> (64 - 8 * (length & 7));
        let header = u64::from(self.header) << (8 * (length & 7)) | new;
        let have = u32::from(self.have) + length;
        if have < HEADER {
            // At most four bytes.
            self.header = header as u32;
            self.have = have as u8;
            return;
        }
        self.header = 0;
        self.have = 0;
        self.record((header >> 32) as u8, (header >> 24) as u8, (header >> 16) as u8, header as u16);
    }

    /// A record begins.
    #[inline(always)]
    fn record(&mut self, kind: u8, major: u8, minor: u8, length: u16) {
        let known = (content_type::CHANGE_CIPHER_SPEC..=content_type::HEARTBEAT).contains(&kind);
        if !known || major != 3 || minor > 4 || length == 0 || length > LONGEST {
            self.stage = stage::LOST;
            return;
        }
        self.remaining = length;
        self.before = if self.last_type == kind { self.last } else { 0 };
        self.last = length;
        self.last_type = kind;
        self.marks &= !mark::LATE;
        match (self.stage, kind) {
            (stage::QUIET, _) => self.stage = stage::HELLO,
            (stage::HELLO, content_type::CHANGE_CIPHER_SPEC) => self.stage = stage::CHANGED,
            (stage::CHANGED, content_type::HANDSHAKE) if is_finished_12(length) => {
                self.stage = stage::ENCRYPTED_12;
                self.marks |= mark::ESTABLISHED;
            }
            // A second hello, or the one that a HelloRetryRequest put off.
            (stage::CHANGED, content_type::HANDSHAKE) => self.stage = stage::HELLO,
            (stage::HELLO | stage::CHANGED, content_type::APPLICATION_DATA) => self.stage = stage::ENCRYPTED_13,
            _ => {}
        }
        if self.stage == stage::ENCRYPTED_13 && kind == content_type::APPLICATION_DATA {
            if length > LONGEST_ALERT_13 {
                self.marks |= mark::ESTABLISHED;
            }
            self.phase = match self.phase {
                // No data, or too little to tell.
                same if same == phase::SERVER || matches!(length, ALERT_13 | ALERT_13_CCM8) => same,
                phase::FINISHED | phase::DATA | HANDSHAKE_RECORDS_13 => phase::DATA,
                _ if is_finished_13(length) => phase::FINISHED,
                records => records + 1,
            };
        }
    }

    /// The last record looks like a `close_notify`, and nothing of it is missing.
    #[inline(always)]
    pub fn says_goodbye(&self) -> bool {
        self.is_between_records()
            && match (self.stage, self.last_type) {
                (stage::ENCRYPTED_12 | stage::KERNEL, content_type::ALERT) => true,
                (stage::ENCRYPTED_13, content_type::APPLICATION_DATA) => {
                    self.last == ALERT_13
                        || self.last == ALERT_13_CCM8
                        || (self.last == ALERT_13_PADDED && self.before == ALERT_13_PADDED)
                }
                _ => false,
            }
    }

    /// The last record was sent or read after the other direction had ended.
    #[inline(always)]
    pub fn mark_late(&mut self) {
        self.marks |= mark::LATE;
    }

    /// What is known of this direction: bits of [`mark`].
    #[inline(always)]
    pub fn marks(&self) -> u8 {
        // Something was there, and it was not the beginning of TLS.
        let missed = self.stage == stage::QUIET && self.quiet_calls > 0;
        if self.stage == stage::LOST || missed {
            return mark::LOST | (self.marks & mark::ESTABLISHED);
        }
        let mut marks = self.marks;
        if self.says_goodbye() {
            marks |= mark::GOODBYE;
        } else if self.have != 0 || (self.stage == stage::ENCRYPTED_13 && self.last == ALERT_13_PADDED) {
            // Half a header; or a padded alert that could be data.
            marks |= mark::MAYBE;
        }
        marks
    }
}

/// A record of TLS 1.2 may be an encrypted Finished: 16 bytes, to which every cipher adds a multiple of 4. A ServerHello
/// with X25519 is of 90 bytes.
#[inline(always)]
fn is_finished_12(length: u16) -> bool {
    length <= LONGEST_FINISHED_12 && length.is_multiple_of(4)
}

/// A record of TLS 1.3 is as long as a Finished: 4 bytes and a hash of 32 or 48, the hidden type, and a tag of 16, or of 8
/// (CCM_8); JSSE pads it by 16.
#[inline(always)]
fn is_finished_13(length: u16) -> bool {
    matches!(length, 45 | 53 | 61 | 69 | 85)
}

const _: () = assert!(size_of::<Direction>() == 20);

#[cfg(test)]
mod tests;
