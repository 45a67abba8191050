//! The command line of `onefold decisions`: the kinds of decision that the API has, by the same words.

use super::Server;
use super::examples::DECISIONS_EXAMPLES;
use clap::Subcommand;
use onefold_types::Identifier;

#[derive(Debug, clap::Args)]
#[command(after_help = DECISIONS_EXAMPLES)]
pub(crate) struct Decisions {
    #[command(subcommand)]
    pub(crate) what: Decide,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Decide {
    /// List the decisions that were taken, oldest first, with who took them and why
    List {
        /// From this number on
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Say that two identifiers are one person
    Link(Two),
    /// Say that two identifiers are not one person, whatever events say
    Cut(Two),
    /// Let two values of one type count as one for its limit
    Force(Two),
    /// Let an identifier say nothing about anyone
    Block(One),
    /// Let a blocked identifier count again
    Unblock(One),
    /// Take a decision back, as if it never was
    Undo {
        /// The decision's number, as `list` shows it
        number: u64,
        #[command(flatten)]
        why: Why,
    },
    /// Issue the customer key of a profile before any destination needs it
    IssueCustomerKey(One),
    /// Forget one message for good; its id stays, so that no copy brings it back
    DeleteMessage {
        /// The message's id
        message_id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Forget a whole profile for good: identifiers, events, traits
    DeleteProfile {
        /// Any of its identifiers, `type:value`
        #[arg(value_parser = identifier)]
        id: Identifier,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Two {
    /// An identifier, `type:value`
    #[arg(value_parser = identifier)]
    pub(crate) a: Identifier,
    /// Another
    #[arg(value_parser = identifier)]
    pub(crate) b: Identifier,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// An identifier, `type:value`
    #[arg(value_parser = identifier)]
    pub(crate) id: Identifier,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// What is kept beside a decision.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Why {
    /// Why, in your words
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Who decides; your login name if it is not given
    #[arg(long, env = "ONEFOLD_OPERATOR")]
    pub(crate) operator: Option<String>,
}

fn identifier(text: &str) -> Result<Identifier, String> {
    match text.split_once(':') {
        Some((id_type, value)) if !id_type.is_empty() && !value.is_empty() => {
            Ok(Identifier::new(id_type, value))
        }
        _ => Err("expected `type:value`, as in `email:ada@example.com`".to_owned()),
    }
}
