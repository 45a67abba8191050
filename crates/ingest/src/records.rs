//! From items to records of the log, each within what a record holds: a batch is one, unless it grew beyond that.

use onefold_log::Record;
use onefold_log::record::{MESSAGES_MAX, Rejected};
use onefold_types::Message;

/// Bytes that the codec puts around an item's parts and a record's items, at most, for each of them.
const AROUND: usize = 10;

/// Bytes that a message takes in a record, at most.
pub(crate) fn bytes_of_message(message: &Message) -> usize {
    let ids: usize =
        message.ids.iter().map(|(id_type, value)| id_type.len() + value.len() + 2 * AROUND).sum();
    let texts = [&message.message_id, &message.source, &message.name, &message.group_id];
    let texts: usize = texts.iter().map(|text| text.len() + AROUND).sum();
    message.body.len() + texts + ids + 4 * AROUND
}

fn bytes_of_rejected(item: &Rejected) -> usize {
    item.source.len() + item.code.len() + item.detail.len() + item.body.len() + 4 * AROUND
}

/// The messages as records of at most `most` bytes.
pub(crate) fn of_messages(messages: Vec<Message>, most: usize) -> Vec<Vec<u8>> {
    parted(messages, bytes_of_message, most).into_iter().map(|part| Record::Messages(part).encode()).collect()
}

/// The rejected items as records of at most `most` bytes.
pub(crate) fn of_rejected(items: Vec<Rejected>, most: usize) -> Vec<Vec<u8>> {
    parted(items, bytes_of_rejected, most).into_iter().map(|part| Record::Rejected(part).encode()).collect()
}

/// `items` in order, in parts of at most `most` bytes; one that is longer is a part of its own.
fn parted<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize, most: usize) -> Vec<Vec<T>> {
    let most = most.saturating_sub(2 * AROUND);
    if items.len() < MESSAGES_MAX && items.iter().map(&bytes).sum::<usize>() <= most {
        return if items.is_empty() { Vec::new() } else { vec![items] };
    }
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let bytes = bytes(&item);
        match parts.last_mut() {
            Some(part) if bytes <= left && part.len() < MESSAGES_MAX => {
                left -= bytes;
                part.push(item);
            }
            _ => {
                left = most.saturating_sub(bytes);
                parts.push(vec![item]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefold_types::{MessageType, Timestamp};
    use proptest::prelude::*;

    fn message(ids: usize, body: usize) -> Message {
        Message {
            message_type: MessageType::Track,
            ts: Timestamp(1),
            message_id: "m".repeat(100),
            source: "web".to_owned(),
            name: "n".repeat(ids),
            ids: vec![("user_id".to_owned(), "u".repeat(ids)); ids],
            group_id: String::new(),
            body: vec![b'x'; body],
        }
    }

    proptest! {
        #[test]
        fn records_hold_every_item_in_order_within_the_limit(
            sizes in proptest::collection::vec((0usize..4, 0usize..900), 0..30),
            most in 1_300usize..4_000,
        ) {
            let messages: Vec<Message> = sizes.iter().map(|(ids, body)| message(*ids, *body)).collect();
            let records = of_messages(messages.clone(), most);
            prop_assert!(records.iter().all(|record| record.len() <= most));
            let read = records.iter().flat_map(|record| match Record::decode(record) {
                Ok(Record::Messages(messages)) => messages,
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(read.collect::<Vec<_>>(), messages);
            let kept: Vec<Rejected> = sizes
                .iter()
                .map(|(_, body)| Rejected { source: "web".to_owned(), code: "too_large".to_owned(), detail: "d".repeat(90), body: vec![b'y'; *body] })
                .collect();
            let records = of_rejected(kept.clone(), most);
            prop_assert!(records.iter().all(|record| record.len() <= most));
            let read = records.iter().flat_map(|record| match Record::decode(record) {
                Ok(Record::Rejected(items)) => items,
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(read.collect::<Vec<_>>(), kept);
        }
    }
}
