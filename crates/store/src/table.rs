//! The tables, by name. Key and value formats belong to the crate that owns the table's meaning (`fold::rows`).

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A table of the store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $($(#[$doc])* $name),*
        }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The table's name on disk: lower case, stable.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

tables! {
    /// Counters, the catalogue, the workspace secret.
    Meta = "meta",
    /// Message-id hash → log position: what was folded once.
    Seen = "seen",
    /// Identifier → node.
    Ident = "ident",
    /// (lower-case form, user id with a capital) → nothing: ids that may differ only in case.
    Spelling = "spelling",
    /// Node → its record.
    Node = "node",
    /// Evidence: a set of nodes seen together → its record.
    Evidence = "evidence",
    /// (node, set) → nothing: which sets a node is in.
    Member = "member",
    /// Profile handle → its cluster of nodes.
    Cluster = "cluster",
    /// Every profile id ever issued → the node it was issued for.
    ProfileId = "pid",
    /// Customer key → node, node → customer key.
    CustomerKey = "ckey",
    /// (device, time) → person anchor: timeline ownership.
    Devlink = "devlink",
    /// Operator decisions, numbered.
    Decision = "op",
    /// (node, time, log position) → event name and set: event history, never moved.
    Stream = "stream",
    /// Profile handle → traits, primitive states, memberships.
    Profile = "prof",
    /// Event names, interned.
    Name = "name",
    /// Accounts: traits and members.
    Account = "account",
    /// (due, profile handle) → nothing: the calendar of timers.
    Timer = "timer",
    /// Identity and audience transitions, numbered.
    Transition = "trans",
    /// Effects waiting for delivery, by destination and number.
    Outbox = "outbox",
    /// (audience, profile handle) → since when: members, a read index.
    AudienceMember = "audience",
    /// Rejected items, numbered.
    Quarantine = "quarantine",
    /// The delivery journal: what the outside answered. Lives in a store of its own.
    Journal = "journal",
    /// Dead letters. Lives with the journal.
    DeadLetter = "dead",
}
