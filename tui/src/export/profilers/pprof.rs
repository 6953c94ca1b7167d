//! The format of pprof (`profile.proto` of github.com/google/pprof), not compressed, which its readers take, too. Values of a sample
//! are: samples, CPU time and waiting time in nanoseconds; labels are the group, the route and the method.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::{file, sample_ns, stacks};
use crate::{model::Snapshot, words::names};

/// The bytes of a message of Protocol Buffers.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field that is a number; 0 is what it is without the field.
    fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u32, value: &Self) {
        self.bytes(field, &value.0);
    }

    /// A field with several numbers.
    fn packed(&mut self, field: u32, values: impl IntoIterator<Item = u64>) {
        let mut packed = Self::default();
        values.into_iter().for_each(|value| packed.varint(value));
        self.message(field, &packed);
    }
}

/// Texts by number; the first is the empty one.
#[derive(Debug)]
struct Texts {
    numbers: HashMap<String, u64>,
    texts: Vec<String>,
}

impl Texts {
    fn new() -> Self {
        Self { numbers: HashMap::from([(String::new(), 0)]), texts: vec![String::new()] }
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// Writes the profile.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let php = &*snapshot.php;
    let (mut profile, mut texts) = (Message::default(), Texts::new());
    let value_type = |texts: &mut Texts, what: &str, unit: &str| {
        let mut message = Message::default();
        message.number(1, texts.number(what));
        message.number(2, texts.number(unit));
        message
    };
    for (what, unit) in [("samples", "count"), ("cpu", "nanoseconds"), ("wait", "nanoseconds")] {
        let message = value_type(&mut texts, what, unit);
        profile.message(1, &message);
    }
    for timed in stacks(php) {
        let mut sample = Message::default();
        // The innermost comes first; numbers of places begin with 1.
        let frames = timed.stack.frames.iter().filter(|&&frame| frame < php.functions.len());
        sample.packed(1, frames.map(|&frame| frame as u64 + 1));
        sample.packed(2, [timed.stack.samples, timed.cpu_ns, timed.wait_ns]);
        let method = timed.route.map_or("", |route| &route.key.method);
        for (key, text) in [("group", timed.group()), ("method", method), ("route", &*timed.route())] {
            if !text.is_empty() {
                let mut label = Message::default();
                label.number(1, texts.number(key));
                label.number(2, texts.number(text));
                sample.message(3, &label);
            }
        }
        profile.message(2, &sample);
    }
    for (index, function) in php.functions.iter().enumerate() {
        let number = index as u64 + 1;
        let line = u64::from(function.key.line);
        let mut place = Message::default();
        place.number(1, number);
        let mut at = Message::default();
        at.number(1, number);
        at.number(2, line);
        place.message(4, &at);
        profile.message(4, &place);
        let mut message = Message::default();
        message.number(1, number);
        let name = texts.number(&names::function(&function.key));
        message.number(2, name);
        message.number(3, name);
        message.number(4, texts.number(file(function)));
        message.number(5, line);
        profile.message(5, &message);
    }
    let period = value_type(&mut texts, "cpu", "nanoseconds");
    let comment = texts.number(&format!("tusktop {} on {}", env!("CARGO_PKG_VERSION"), snapshot.host.name));
    let cpu = texts.number("cpu");
    for text in &texts.texts {
        profile.bytes(6, text.as_bytes());
    }
    profile.number(9, u64::try_from(snapshot.at.as_nanosecond()).unwrap_or(0));
    profile.number(10, php.interval_ms.saturating_mul(1_000_000));
    profile.message(11, &period);
    profile.number(12, sample_ns(php));
    profile.packed(13, [comment]);
    profile.number(14, cpu);
    out.write_all(&profile.0)
}
