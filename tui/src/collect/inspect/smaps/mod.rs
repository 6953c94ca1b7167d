//! Sums /proc/PID/smaps (proc_pid_smaps(5)) by kind of mapping while reading it. Its memory depends neither on the number of
//! mappings nor on the length of a line.

use std::{
    collections::HashMap,
    io::Read,
    time::{Duration, Instant},
};

use memchr::memchr;

use super::{
    folder::unread_io,
    mapping::{self, Php},
};
use crate::{
    collect::proc::kibibytes,
    model::{MappingKind, MappingSum, Mappings, Reading, Unread},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Longest line that is kept: the address part and a path of PATH_MAX, each byte of it escaped as `\012`.
const LONGEST_LINE: usize = 128 + 4 * 4096;
/// Names that are told apart; the mappings of further ones only count in their kind.
const MOST_NAMES: usize = 4096;
/// Names that are kept in the end.
const BIGGEST: usize = 10;

/// Reads all mappings.
///
/// # Errors
/// [`Unread::TooExpensive`] when it takes longer than `patience`, [`Unread::Absent`] without mappings, [`Unread::Malformed`] when
/// nothing in it is a mapping.
pub(super) fn read(mut file: impl Read, patience: Duration, chunk: &mut Vec<u8>) -> Reading<Mappings> {
    let started = Instant::now();
    chunk.resize(CHUNK, 0);
    let mut sums = Sums::default();
    loop {
        match file.read(chunk) {
            Ok(0) => return sums.finish(),
            Ok(length) => sums.feed(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread_io(&error)),
        }
        if started.elapsed() > patience {
            return Err(Unread::TooExpensive(started.elapsed()));
        }
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Sums {
    /// The start of a line whose end has not come yet, up to the bound.
    line: Vec<u8>,
    any: bool,
    /// The mapping that the lines now are about.
    mapping: Option<(MappingKind, Key)>,
    sum: MappingSum,
    kinds: [MappingSum; MappingKind::ALL.len()],
    total: MappingSum,
    /// By name; segments of /dev/zero by inode, since each is another one.
    names: HashMap<Vec<u8>, (MappingKind, MappingSum)>,
    php: Php,
}

/// Under which key a mapping's name is summed; empty for mappings without a name of interest.
type Key = Vec<u8>;

impl Sums {
    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr(b'\n', bytes) {
            if self.line.is_empty() {
                self.take(&bytes[..end]);
            } else {
                self.keep(&bytes[..end]);
                let line = std::mem::take(&mut self.line);
                self.take(&line);
                self.line = line;
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn take(&mut self, line: &[u8]) {
        // Fields start with a capital, addresses are hexadecimal in small letters.
        if line.first().is_some_and(u8::is_ascii_uppercase) {
            self.field(line);
        } else if let Some(header) = mapping::Header::parse(line) {
            self.close();
            self.any = true;
            self.php.see(&header);
            self.mapping = Some((header.kind(), header.key()));
            self.sum = MappingSum { count: 1, ..MappingSum::default() };
        } else {
            self.any |= !line.is_empty();
            self.close();
        }
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = memchr(b':', line) else { return };
        let sum = &mut self.sum;
        let place = match &line[..colon] {
            b"Size" => &mut sum.size,
            b"Rss" => &mut sum.rss,
            b"Pss" => &mut sum.pss,
            b"Private_Clean" | b"Private_Dirty" => &mut sum.uss,
            b"Swap" => &mut sum.swap,
            _ => return,
        };
        *place = place.saturating_add(kibibytes(&line[colon + 1..]).unwrap_or(0));
    }

    /// Adds the mapping that was read to all sums.
    fn close(&mut self) {
        let Some((kind, key)) = self.mapping.take() else { return };
        self.kinds[kind as usize].add(&self.sum);
        self.total.add(&self.sum);
        if key.is_empty() {
            return;
        }
        if let Some((_, sum)) = self.names.get_mut(&key) {
            sum.add(&self.sum);
        } else if self.names.len() < MOST_NAMES {
            self.names.insert(key, (kind, self.sum));
        }
    }

    fn finish(mut self) -> Reading<Mappings> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take(&line);
        }
        self.close();
        if self.total.count == 0 {
            return Err(if self.any { Unread::Malformed } else { Unread::Absent });
        }
        for (kind, sum) in
            self.names.iter().filter(|(key, (_, sum))| self.php.is_opcache(key, sum.size)).map(|(_, v)| v)
        {
            take_from(&mut self.kinds[*kind as usize], sum);
            self.kinds[MappingKind::Opcache as usize].add(sum);
        }
        let php = &self.php;
        let mut biggest: Vec<_> = self.names.iter().collect();
        biggest.sort_by(|(a, (_, x)), (b, (_, y))| (y.pss, y.rss, y.size, a).cmp(&(x.pss, x.rss, x.size, b)));
        let biggest = biggest.into_iter().take(BIGGEST).map(|(key, &(kind, sum))| {
            let kind = if php.is_opcache(key, sum.size) { MappingKind::Opcache } else { kind };
            (String::from_utf8_lossy(mapping::name_of(key)).into(), kind, sum)
        });
        let kinds = MappingKind::ALL.into_iter().zip(self.kinds).filter(|(_, sum)| sum.count > 0);
        Ok(Mappings { kinds: kinds.collect(), total: self.total, biggest: biggest.collect() })
    }
}

fn take_from(from: &mut MappingSum, sum: &MappingSum) {
    from.count -= sum.count.min(from.count);
    from.size -= sum.size.min(from.size);
    from.rss -= sum.rss.min(from.rss);
    from.pss -= sum.pss.min(from.pss);
    from.uss -= sum.uss.min(from.uss);
    from.swap -= sum.swap.min(from.swap);
}

#[cfg(test)]
mod tests;
