//! What was probably meant: the known name closest to a mistyped one, for every message that suggests one.

/// The entry of `known` that differs from `typed` by at most a third of its letters, and by the fewest; upper case counts
/// as lower case.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&typed, candidate);
    let near = known.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    (near.0 <= (typed.chars().count() / 3).max(1)).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_forgiven_and_another_word_is_not() {
        let known = ["page-down", "page-up", "quit"];
        for (typed, near) in [("page-dwn", Some("page-down")), ("qiut", Some("quit")), ("QUIT", Some("quit"))] {
            assert_eq!(nearest(typed, known), near, "{typed}");
        }
        for typed in ["", "help", "colour"] {
            assert_eq!(nearest(typed, known), None, "{typed}");
        }
        assert_eq!(nearest("quit", []), None);
    }
}
