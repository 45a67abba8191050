//! What an effect would say by now: asked before a dead letter is sent again, for it may have been overtaken, and before an
//! event is forwarded, for it may have been deleted.

use onefold_store::Error;
use onefold_types::effect::Effect;

/// What became of that which an effect said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It is so still: what was rendered of it is true.
    AsSaid,
    /// This is said now in its place. Its change, whom it names and when count; id, destination and lane stay the letter's.
    /// It is effective at the engine time of the commit that was looked at: what that commit has told is not later, and
    /// what is found after it is not earlier, however far the fold is behind the clock.
    Changed(Box<Effect>),
    /// Nothing that would be true: why, for the one who asked.
    Nowhere(String),
}

/// Knows the profiles of which effects tell. What it answers is true when it is sent after everything that the receiver has
/// got since, whether that knows people by profile id, customer key or identifiers:
///
/// - **Value:** the one that was told last (the row is in the outbox, delivered or not), not one that time or a backfill under
///   way will bring: every further difference is an effect of its own, which comes later in its lane.
/// - **Person:** the profile of the effect's lane, named as it is now: what it gave up in a split is another's, who is told
///   of in a lane of their own. If it was merged away, whoever has the strongest of its identifiers now, named as that one
///   is: a receiver that knows people by identifiers would take anything else for the survivor's.
/// - **Exit of one who was merged away**, by the merge or before it, while the survivor is in the audience: an exit under
///   those names of then that are not the survivor's. A receiver that knows people by profile id, or by a customer key that
///   the survivor did not take over, loses the absorbed one; the survivor's identifiers are left out, so that one who knows
///   people by those finds nobody in it and loses nobody. (Sent in its turn the exit has them: it comes before what the
///   survivor is told under them.) An absorbed one whose profile id is the survivor's by now has no name of its own, and is
///   the survivor.
/// - **Gone:** someone who was deleted, or whose identifiers are nobody's now, is in no audience and has no trait: the answer
///   is an exit or `null` under the names of then. It takes away what the receiver may have, and brings nobody back. Whoever
///   came again under an identifier after a deletion is somebody else: nothing is said of them, and the identifier is left
///   out of the names.
/// - **Removed:** a plain trait that was removed is `null`. An audience or a computed trait that is not in the catalogue any
///   more is [`Stands::Nowhere`], whatever the effect said: there is no name to say anything under, the receiver may have
///   heard later things, and a new definition may go by the old name.
/// - **Events** that are forwarded happened, and stand as said; [`Stands::Nowhere`] once the message was deleted, alone or
///   with whoever it was of. They are asked for before every attempt, not only as dead letters. Of a message that retention
///   has trimmed it is not known whose identifiers it had: it does not stand if any of its owner's may have been deleted.
///
/// It is a look at one commit: what is found while the letter is on its way goes by its lane, and may overtake it.
pub trait Standing: Send + Sync + 'static {
    /// What became of what `effect` said. May wait for a disk.
    ///
    /// # Errors
    /// The state cannot be read; then nothing is sent.
    fn of(&self, effect: &Effect) -> Result<Stands, Error>;
}
