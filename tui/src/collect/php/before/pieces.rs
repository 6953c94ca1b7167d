//! Memory of one process in pieces that are read once: what PHP needs together mostly lies together, and each read is a question
//! to another process. The memory is not trusted, so there is a limit to the pieces.

use std::{collections::HashMap, io};

/// Bytes of a piece. It never goes over the end of a page.
const PIECE: usize = 1 << 11;
/// Pieces of one process that are read: several for each frame of the deepest stack.
const MOST: usize = 640;

/// Reads memory of one process.
pub(super) struct Pieces<F> {
    read: F,
    /// By their number; `None` for what cannot be read.
    pieces: HashMap<u64, Option<Box<[u8; PIECE]>>>,
}

impl<F: FnMut(u64, &mut [u8]) -> io::Result<()>> Pieces<F> {
    /// By a function that fills bytes from an address.
    pub(super) fn new(read: F) -> Self {
        Self { read, pieces: HashMap::new() }
    }

    /// Fills `bytes` from an address; `false` where that cannot be read.
    pub(super) fn fill(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let Some(at) = address.checked_add(done as u64) else { return false };
            let Some(piece) = self.piece(at / PIECE as u64) else { return false };
            let from = (at % PIECE as u64) as usize;
            let part = (bytes.len() - done).min(PIECE - from);
            bytes[done..done + part].copy_from_slice(&piece[from..from + part]);
            done += part;
        }
        true
    }

    fn piece(&mut self, number: u64) -> Option<&[u8; PIECE]> {
        if !self.pieces.contains_key(&number) {
            if self.pieces.len() >= MOST {
                return None;
            }
            let mut piece = Box::new([0; PIECE]);
            // Nothing is ever mapped at 0, where every pointer to nothing points.
            let read = number > 0
                && number.checked_mul(PIECE as u64).is_some_and(|address| (self.read)(address, &mut piece[..]).is_ok());
            self.pieces.insert(number, read.then_some(piece));
        }
        self.pieces.get(&number)?.as_deref()
    }

    /// A number of 8 bytes, such as a pointer.
    pub(super) fn word(&mut self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.fill(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// A number of 4 bytes.
    pub(super) fn number(&mut self, address: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.fill(address, &mut bytes).then(|| u32::from_le_bytes(bytes))
    }

    /// Copies a text up to its NUL, which is kept room for; nothing where it cannot be read.
    pub(super) fn text(&mut self, address: u64, into: &mut [u8]) {
        let most = into.len().saturating_sub(1);
        for (at, byte) in into[..most].iter_mut().enumerate() {
            let mut next = [0];
            if !address.checked_add(at as u64).is_some_and(|address| self.fill(address, &mut next)) || next == [0] {
                return;
            }
            *byte = next[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of a megabyte, each byte of which says where it is, and how often it was read.
    fn memory(reads: &mut usize) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> {
        move |address, bytes| {
            *reads += 1;
            if address >= 1 << 20 {
                return Err(io::ErrorKind::NotFound.into());
            }
            bytes.iter_mut().zip(address..).for_each(|(byte, at)| *byte = (at >> 4) as u8);
            Ok(())
        }
    }

    #[test]
    fn a_piece_is_read_once_and_what_lies_across_two_is_whole() {
        let mut reads = 0;
        let mut pieces = Pieces::new(memory(&mut reads));
        assert_eq!(pieces.word(0x17f8), Some(u64::from_le_bytes([0x7f; 8])));
        assert_eq!(pieces.word(0x17fc), Some(u64::from_le_bytes([0x7f, 0x7f, 0x7f, 0x7f, 0x80, 0x80, 0x80, 0x80])));
        assert_eq!((pieces.number(0x1800), pieces.word(0x1000)), (Some(0x8080_8080), Some(0)));
        assert_eq!((pieces.word(8), pieces.word(1 << 20), pieces.word(u64::MAX - 2)), (None, None, None));
        drop(pieces);
        assert_eq!(reads, 4);
    }

    #[test]
    fn a_process_that_points_everywhere_is_not_read_without_end() {
        let mut reads = 0;
        let mut pieces = Pieces::new(|_, _: &mut [u8]| {
            reads += 1;
            Ok(())
        });
        for at in 1..10_000_u64 {
            let _ = pieces.word(at << 16);
        }
        drop(pieces);
        assert_eq!(reads, MOST);
    }

    #[test]
    fn a_text_ends_at_its_nul_or_where_there_is_no_more_room() {
        let text = b"/a.php\0more";
        let mut pieces = Pieces::new(|address, bytes: &mut [u8]| {
            bytes.fill(0);
            if address == 0x1000 {
                bytes[..text.len()].copy_from_slice(text);
            }
            Ok(())
        });
        let mut room = [0; 16];
        pieces.text(0x1000, &mut room);
        assert_eq!(&room, b"/a.php\0\0\0\0\0\0\0\0\0\0");
        let mut little = [0; 4];
        pieces.text(0x1000, &mut little);
        assert_eq!(&little, b"/a.\0");
    }
}
