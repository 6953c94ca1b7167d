//! The messages of a place where something went wrong, where it has several.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One of several messages of a place. Few are kept, so that of frequent ones most are counted, and of rare ones not all: it
/// came at least so often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemMessage {
    /// The message, with its secrets masked.
    pub text: Arc<str>,
    /// Times, at least.
    pub count: u64,
}

impl ProblemMessage {
    /// Messages of a place in a list.
    pub(crate) const MOST: usize = 6;

    /// Adds messages to those of the same place: the most frequent one is `message`, and several are in `list`. `count` and
    /// `new_count` are how often the places were seen, which is how often a single message was.
    pub(crate) fn add(
        (message, list, count): (&mut Arc<str>, &mut Vec<Self>, u64),
        (new, new_list, new_count): (&Arc<str>, &[Self], u64),
    ) {
        if new_list.is_empty() && (new.is_empty() || (list.is_empty() && new == message)) {
            return;
        }
        if list.is_empty() && !message.is_empty() {
            list.push(Self { text: Arc::clone(message), count });
        }
        let single = [Self { text: Arc::clone(new), count: new_count }];
        for new in if new_list.is_empty() { &single } else { new_list } {
            match list.iter_mut().find(|known| known.text == new.text) {
                Some(known) => known.count += new.count,
                None => list.push(new.clone()),
            }
        }
        Self::choose(message, list);
    }

    /// Makes the most frequent one of a list the message, and empties the list where it is the only one.
    pub(crate) fn choose(message: &mut Arc<str>, list: &mut Vec<Self>) {
        list.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        list.truncate(Self::MOST);
        if let Some(most) = list.first() {
            message.clone_from(&most.text);
        }
        if list.len() == 1 {
            list.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Messages = (Arc<str>, Vec<ProblemMessage>, u64);

    fn sum(parts: &[(&str, u64)]) -> Messages {
        let mut sum: Messages = ("".into(), Vec::new(), 0);
        for (text, count) in parts {
            ProblemMessage::add((&mut sum.0, &mut sum.1, sum.2), (&(*text).into(), &[], *count));
            sum.2 += count;
        }
        sum
    }

    #[test]
    fn a_place_with_one_message_has_no_list() {
        assert_eq!(sum(&[("a", 2), ("", 5), ("a", 1)]), ("a".into(), Vec::new(), 8));
    }

    #[test]
    fn the_most_frequent_of_several_is_the_message_and_few_are_kept() {
        let (message, list, _) = sum(&[("a", 2), ("b", 3)]);
        let list: Vec<_> = list.iter().map(|known| (&*known.text, known.count)).collect();
        assert_eq!((&*message, list), ("b", vec![("b", 3), ("a", 2)]));
        let many: Vec<String> = (0..100).map(|number| format!("user {number}")).collect();
        let parts: Vec<_> = many.iter().map(|text| (&**text, 1)).chain([("often", 50), ("often", 1)]).collect();
        let (message, list, _) = sum(&parts);
        assert_eq!((&*message, list.len(), list[0].count), ("often", ProblemMessage::MOST, 51));
    }
}
