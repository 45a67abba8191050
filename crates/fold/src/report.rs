//! What a batch did, for metrics and the live stream; nothing depends on it.

use onefold_types::{AudienceId, Identifier, ProfileHandle, Timestamp};

/// What happened to someone, as a person would watch it.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A message was folded.
    Folded {
        /// Its type.
        message_type: onefold_types::MessageType,
        /// Its name.
        name: String,
        /// Its id.
        message_id: String,
        /// Its event time.
        ts: Timestamp,
        /// Whose it is.
        profile: Option<ProfileHandle>,
        /// The message, as JSON.
        body: Vec<u8>,
    },
    /// Two profiles became one.
    Merged {
        /// The one that went.
        from: ProfileHandle,
        /// The one that stays.
        into: ProfileHandle,
    },
    /// A profile became several.
    Split {
        /// The one it was.
        from: ProfileHandle,
        /// The ones that came out.
        into: Vec<ProfileHandle>,
    },
    /// Someone entered an audience.
    Entered {
        /// The audience.
        audience: AudienceId,
        /// Who.
        profile: ProfileHandle,
        /// When it became true.
        effective: Timestamp,
    },
    /// Someone left an audience.
    Exited {
        /// The audience.
        audience: AudienceId,
        /// Who.
        profile: ProfileHandle,
        /// When it became true.
        effective: Timestamp,
    },
    /// A new identifier differs from others in nothing but case.
    NearDuplicate {
        /// The new one.
        id: Identifier,
        /// The values that were known.
        others: Vec<String>,
    },
    /// A message or item was quarantined.
    Quarantined {
        /// The reason's code.
        code: String,
    },
}

/// What a batch did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Records folded.
    pub records: u64,
    /// Messages folded.
    pub messages: u64,
    /// Timers fired.
    pub timers: u64,
    /// Effects written.
    pub effects: u64,
    /// What happened, at most [`HAPPENINGS_MAX`] per batch; the rest is counted in `unseen`.
    pub happenings: Vec<Happening>,
    /// Happenings beyond the limit.
    pub unseen: u64,
}

/// The live stream is for eyes: no one reads more than this per batch.
pub const HAPPENINGS_MAX: usize = 200;

impl Report {
    pub(crate) fn note(&mut self, happening: Happening) {
        if self.happenings.len() < HAPPENINGS_MAX {
            self.happenings.push(happening);
        } else {
            self.unseen += 1;
        }
    }
}
