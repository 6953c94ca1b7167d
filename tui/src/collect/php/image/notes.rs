//! Parses `.note.stapsdt`: which probes an image has, where, with which semaphore and arguments.
//! Layout: SystemTap wiki, "UserSpaceProbeImplementation"; type 3, name "stapsdt", 64-bit little endian only.

/// One site of a probe. Addresses are as linked, before the shift of `.stapsdt.base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Provider, such as `php`.
    pub provider: String,
    /// Probe, such as `request__startup`.
    pub probe: String,
    /// Address of the site.
    pub location: u64,
    /// Address that `.stapsdt.base` had when the note was written.
    pub base: u64,
    /// Address of the semaphore, 0 when there is none.
    pub semaphore: u64,
    /// Arguments, see [`super::operand`].
    pub arguments: String,
}

const NAME: &[u8] = b"stapsdt\0";
const TYPE: u32 = 3;
/// More notes than any image has; the rest of a malformed section is left alone.
const LIMIT: usize = 4096;

/// Reads all notes of a section. A note that is cut or malformed ends the list; what came before is kept.
pub(crate) fn parse(section: &[u8]) -> Vec<Note> {
    let mut rest = section;
    let mut notes = Vec::new();
    while notes.len() < LIMIT {
        let Some((note, next)) = one(rest) else { break };
        notes.extend(note);
        rest = next;
    }
    notes
}

/// The first note of `bytes`, `None` inside when it is of another kind, and what follows it.
fn one(bytes: &[u8]) -> Option<(Option<Note>, &[u8])> {
    let name_len = u32_at(bytes, 0)? as usize;
    let content_len = u32_at(bytes, 4)? as usize;
    let kind = u32_at(bytes, 8)?;
    let name = bytes.get(12..12_usize.checked_add(name_len)?)?;
    let begin = 12 + name_len.checked_next_multiple_of(4)?;
    let content = bytes.get(begin..begin.checked_add(content_len)?)?;
    let next = bytes.get(begin.checked_add(content_len.checked_next_multiple_of(4)?)?..).unwrap_or_default();
    Some(((kind == TYPE && name == NAME).then(|| probe(content)).flatten(), next))
}

fn probe(content: &[u8]) -> Option<Note> {
    let mut texts = content.get(24..)?.split(|&byte| byte == 0);
    let mut text = || Some(String::from_utf8_lossy(texts.next()?).into_owned());
    let (provider, probe, arguments) = (text()?, text()?, text()?);
    Some(Note {
        provider,
        probe,
        arguments,
        location: u64_at(content, 0)?,
        base: u64_at(content, 8)?,
        semaphore: u64_at(content, 16)?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::php::image::operand::{self, Architecture};

    /// `.note.stapsdt` of Debian's php7.4-cli 7.4.33-1+deb11u5 and php8.2-fpm 8.2.36-1~deb12u1, amd64.
    const PHP_7_4: &[u8] = include_bytes!("../../../../tests/fixtures/php7.4-cli.stapsdt");
    const PHP_8_2: &[u8] = include_bytes!("../../../../tests/fixtures/php8.2-fpm.stapsdt");

    fn sites<'a>(notes: &'a [Note], probe: &str) -> Vec<&'a Note> {
        notes.iter().filter(|note| note.provider == "php" && note.probe == probe).collect()
    }

    #[test]
    fn both_images_have_the_eleven_probes_with_arguments_that_are_understood() {
        for section in [PHP_7_4, PHP_8_2] {
            let notes = parse(section);
            let mut names: Vec<_> = notes.iter().map(|note| note.probe.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 11, "{names:?}");
            for note in &notes {
                assert_eq!(note.provider, "php");
                assert_ne!((note.location, note.semaphore), (0, 0));
                operand::parse(Architecture::X86_64, &note.arguments).unwrap();
            }
            assert_eq!(sites(&notes, "request__startup").len(), 1);
            assert_eq!(sites(&notes, "exception__thrown").len(), 2);
            assert_eq!(
                operand::parse(Architecture::X86_64, &sites(&notes, "request__startup")[0].arguments).unwrap().len(),
                3
            );
            assert_eq!(
                operand::parse(Architecture::X86_64, &sites(&notes, "function__entry")[0].arguments).unwrap().len(),
                5
            );
        }
    }

    #[test]
    fn a_cut_section_keeps_the_notes_before_the_cut() {
        let all = parse(PHP_8_2).len();
        for cut in 0..PHP_8_2.len() {
            assert!(parse(&PHP_8_2[..cut]).len() <= all);
        }
        assert_eq!(parse(&PHP_8_2[..PHP_8_2.len() - 8]).len(), all - 1);
    }

    #[test]
    fn notes_of_another_kind_are_passed_over() {
        let mut other = PHP_8_2.to_vec();
        other[8] = 4;
        assert_eq!(parse(&other).len(), parse(PHP_8_2).len() - 1);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
