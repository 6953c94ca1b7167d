//! Changes inputs at random, always in the same way for the same seed: bits, numbers in bytes and in digits, pieces that move, are
//! doubled, cut or taken from another input, and words of the format.

/// Numbers at which arithmetic goes wrong.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    7,
    63,
    0x7f,
    0xff,
    0x1000,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// Numbers as text.
const DIGITS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "00",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e309",
    "-1e-400",
    "0.1",
];
/// Most changes to one input.
const CHANGES: usize = 6;

/// Makes inputs.
#[derive(Debug)]
pub(super) struct Mutation {
    random: Random,
    words: &'static [&'static str],
    longest: usize,
}

impl Mutation {
    /// Begins with a seed. Each target has inputs of its own.
    pub(super) fn new(seed: u64, target: &str, words: &'static [&'static str], longest: usize) -> Self {
        Self { random: Random(seed.wrapping_add(crc32fast::hash(target.as_bytes()).into())), words, longest }
    }

    /// One of the inputs, changed.
    pub(super) fn change(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        // Those that were found last have been tried least.
        let newest = corpus.len().saturating_sub(1 + self.random.below(16));
        let any = self.random.below(corpus.len());
        let mut input = corpus[if self.random.below(3) == 0 { newest } else { any }].clone();
        let other = &corpus[self.random.below(corpus.len())];
        for _ in 0..=self.random.below(CHANGES) {
            self.once(&mut input, other);
        }
        input.truncate(self.longest);
        input
    }

    fn once(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let random = &mut self.random;
        let at = random.below(input.len() + 1);
        match random.below(12) {
            0 => with(input, at, |byte| *byte ^= 1 << random.below(8)),
            1 => with(input, at, |byte| *byte = random.next() as u8),
            2 => {
                let size = 1 << random.below(4);
                let number = random.number(input.len()).to_le_bytes();
                replace(input, at, size, &number[..size]);
            }
            3 => with(input, at, |byte| *byte = byte.wrapping_add((random.below(71) as u8).wrapping_sub(35))),
            4 => {
                let length = random.length(input.len() - at);
                input.drain(at..at + length);
            }
            5 => {
                // A piece of it again, here or instead of what is here.
                let from = random.below(input.len() + 1);
                let piece = input[from..from + random.length(input.len() - from)].to_vec();
                replace(input, at, if random.below(2) == 0 { 0 } else { piece.len() }, &piece);
            }
            6 => {
                let from = random.below(other.len() + 1);
                let piece = &other[from..from + random.length(other.len() - from)];
                replace(input, at, if random.below(2) == 0 { 0 } else { piece.len() }, piece);
            }
            7 => {
                // The start of one and the end of another.
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            8 if !self.words.is_empty() => {
                let word = self.words[random.below(self.words.len())].as_bytes();
                replace(input, at, if random.below(2) == 0 { 0 } else { word.len() }, word);
            }
            8 | 9 => {
                // A number in digits.
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let Some(start) = input[at..].iter().position(is_digit).map(|start| at + start) else { return };
                let length = input[start..].iter().take_while(|byte| is_digit(byte)).count();
                let number = random.number(input.len()).to_string();
                let known = DIGITS[random.below(DIGITS.len())];
                replace(input, start, length, if random.below(2) == 0 { number.as_bytes() } else { known.as_bytes() });
            }
            10 => {
                let byte = random.next() as u8;
                let many = random.length(self.longest.saturating_sub(input.len()).min(1 << 12));
                let piece = vec![byte; many];
                replace(input, at, 0, &piece);
            }
            _ => input.truncate(at),
        }
        input.truncate(2 * self.longest);
    }
}

/// Changes the byte at a place, if there is one.
fn with(input: &mut [u8], at: usize, change: impl FnOnce(&mut u8)) {
    if let Some(byte) = input.get_mut(at) {
        change(byte);
    }
}

/// Puts a piece in place of `length` bytes.
fn replace(input: &mut Vec<u8>, at: usize, length: usize, piece: &[u8]) {
    let end = input.len().min(at + length);
    input.splice(at..end, piece.iter().copied());
}

/// Numbers by chance (splitmix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// 0 to `end`, without it; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    /// A length up to `most`; short ones are more likely.
    fn length(&mut self, most: usize) -> usize {
        let most = if self.below(4) == 0 { most } else { most.min(16) };
        self.below(most + 1)
    }

    /// A number that may matter: a known one, or one near the length of the input.
    fn number(&mut self, length: usize) -> u64 {
        let near = [length as u64, NUMBERS[self.below(NUMBERS.len())], self.next() >> self.below(64)];
        near[self.below(near.len())].wrapping_add(self.below(5) as u64).wrapping_sub(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_and_another_one_others() {
        let corpus = [b"Pss: 12 kB\n".to_vec(), Vec::new()];
        let inputs = |seed| {
            let mut mutation = Mutation::new(seed, "x", &["kB"], 64);
            (0..500).map(|_| mutation.change(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).iter().all(|input| input.len() <= 64));
    }
}
