//! Reads the configuration of process-exporter as it is and makes rules of it. What process-exporter would refuse is refused,
//! and so is what could not be kept, each with its line; what differs on purpose is in docs/groups.md.

mod name;
mod pattern;

use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::{Event, Marker, Parser, ScanError, SpannedEventReceiver as _};

pub(super) use self::name::Name;
use super::{Condition, GroupName, Origin, Property, Rule};

/// Most levels of lists and maps in each other; a configuration has three.
const MAX_DEPTH: usize = 32;
/// Biggest configuration.
const MAX_BYTES: usize = 1 << 20;

/// Why a configuration of process-exporter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct ImportError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl ImportError {
    fn at(marker: Marker, message: impl Into<String>) -> Self {
        Self { line: marker.line().max(1), message: message.into() }
    }
}

/// Makes rules of the text of a configuration. `file` is its name for explanations.
///
/// # Errors
/// [`ImportError`] for what process-exporter would refuse or what cannot be kept.
pub fn rules(file: &str, text: &str) -> Result<Vec<Rule>, ImportError> {
    if text.len() > MAX_BYTES {
        return Err(ImportError { line: 1, message: format!("the file has more than {MAX_BYTES} bytes") });
    }
    let Some(document) = load(text)? else { return Ok(Vec::new()) };
    let document = Node(&document);
    if document.is_null() {
        return Ok(Vec::new());
    }
    let items = document.entry("process_names")?.filter(|list| !list.is_null());
    let Some(items) = items else { return Ok(Vec::new()) };
    items.list("process_names", "items such as `- comm: [nginx]`")?.into_iter().map(|item| rule(file, item)).collect()
}

fn rule(file: &str, item: Node) -> Result<Rule, ImportError> {
    // An item that is null has no matchers either.
    let selector = |name: &str| -> Result<Option<Vec<Written>>, ImportError> {
        if item.is_null() {
            return Ok(None);
        }
        let Some(texts) = item.entry(name)?.filter(|list| !list.is_null()) else { return Ok(None) };
        let texts = texts.list(name, &format!("texts, such as `{name}: [\"…\"]`"))?;
        texts.into_iter().map(|text| text.text(name)).collect::<Result<_, _>>().map(Some)
    };
    let texts = |written: Vec<Written>| written.into_iter().map(|written| written.text);
    let mut conditions = Vec::new();
    if let Some(names) = selector("comm")? {
        conditions.push(Condition::exactly(Property::Comm, texts(names)));
    }
    if let Some(names) = selector("exe")? {
        conditions.push(Condition::program(texts(names)));
    }
    let patterns = selector("cmdline")?;
    let selects = patterns.is_some() || !conditions.is_empty();
    for Written { text, marker } in patterns.unwrap_or_default() {
        let compiled = pattern::compile(&text).map_err(|problem| {
            ImportError::at(marker, format!("cmdline: bad regular expression `{text}`: {problem}"))
        })?;
        conditions.push(Condition::pattern(Property::Cmdline, compiled));
    }
    if !selects {
        let message = "no matchers provided: the item needs comm, exe or cmdline; process-exporter refuses it, too";
        return Err(ImportError::at(item.start(), message));
    }
    let written = match item.entry("name")? {
        Some(name) if !name.is_null() => Some(name.text("name")?),
        _ => None,
    };
    let text = written.as_ref().map_or("", |written| &*written.text);
    let name = Name::parse(text).map_err(|error| {
        let marker = written.as_ref().map_or(item.start(), |written| written.marker);
        ImportError::at(marker, format!("name: character {} of `{text}`: {}", error.at + 1, error.message))
    })?;
    let line = item.start().line().max(1);
    Ok(Rule {
        name: Origin::short(file, line),
        origin: Origin::File { file: file.into(), line },
        conditions,
        group_name: GroupName::Go(name),
        children: true,
    })
}

/// The first document, as process-exporter's parser takes it.
fn load(text: &str) -> Result<Option<MarkedYaml<'_>>, ImportError> {
    let refused = |error: &ScanError| ImportError::at(*error.marker(), format!("this is not YAML: {}", error.info()));
    let mut loader = YamlLoader::<MarkedYaml>::default();
    // The text of a scalar counts: `comm: [0x10]` is the name 0x10.
    loader.early_parse(false);
    // Go's yaml.v2 takes the last of keys that are there twice.
    loader.allow_duplicate_keys(true);
    // By events, not by the parser's own loading: that calls itself for each level, and what is nested too deep, though
    // a mistake, must not end the program.
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| refused(&error))?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let message = format!("lists and maps are nested more than {MAX_DEPTH} deep");
            return Err(ImportError::at(span.start, message));
        }
        let end = matches!(event, Event::DocumentEnd);
        loader.on_event(event, span);
        if let Some(error) = loader.error() {
            return Err(refused(error));
        }
        if end {
            break;
        }
    }
    Ok(loader.into_documents().into_iter().next())
}

/// A text and where it is.
struct Written {
    text: String,
    marker: Marker,
}

/// A node as yaml.v2 of Go decodes it into texts, lists and structs.
#[derive(Clone, Copy)]
struct Node<'n>(&'n MarkedYaml<'n>);

impl<'n> Node<'n> {
    fn start(self) -> Marker {
        self.0.span.start
    }

    /// The data without tags.
    fn data(self) -> &'n YamlData<'n, MarkedYaml<'n>> {
        let mut data = &self.0.data;
        while let YamlData::Tagged(_, inner) = data {
            data = &inner.data;
        }
        data
    }

    fn is_null(self) -> bool {
        use saphyr_parser::ScalarStyle::Plain;
        match self.data() {
            YamlData::Representation(text, Plain, None) => matches!(&**text, "" | "~" | "null" | "Null" | "NULL"),
            YamlData::Representation(_, _, Some(tag)) => tag.is_yaml_core_schema() && tag.suffix == "null",
            YamlData::BadValue => true,
            _ => false,
        }
    }

    /// A key of a map; one of a merged map (`<<`) where it has none itself.
    fn entry(self, key: &str) -> Result<Option<Node<'n>>, ImportError> {
        let YamlData::Mapping(entries) = self.data() else {
            return Err(ImportError::at(
                self.start(),
                format!("expected keys such as `{key}:`, found {}", self.kind()),
            ));
        };
        let find = |wanted: &str| {
            entries.iter().find_map(|(key, value)| {
                let YamlData::Representation(text, ..) = Node(key).data() else { return None };
                (&**text == wanted).then_some(Node(value))
            })
        };
        if let Some(found) = find(key) {
            return Ok(Some(found));
        }
        match find("<<") {
            None => Ok(None),
            Some(merged) => match merged.data() {
                YamlData::Sequence(maps) => {
                    for map in maps {
                        if let Some(found) = Node(map).entry(key)? {
                            return Ok(Some(found));
                        }
                    }
                    Ok(None)
                }
                _ => merged.entry(key),
            },
        }
    }

    fn list(self, key: &str, of: &str) -> Result<Vec<Node<'n>>, ImportError> {
        match self.data() {
            YamlData::Sequence(items) => Ok(items.iter().map(Node).collect()),
            _ => Err(ImportError::at(self.start(), format!("{key}: expected a list of {of}, found {}", self.kind()))),
        }
    }

    /// A text. Numbers and truth values are texts as they are written; null is an empty one.
    fn text(self, key: &str) -> Result<Written, ImportError> {
        let marker = self.start();
        if self.is_null() {
            return Ok(Written { text: String::new(), marker });
        }
        match self.data() {
            YamlData::Representation(text, _, Some(tag)) if tag.is_yaml_core_schema() && tag.suffix == "binary" => {
                Err(ImportError::at(marker, format!("{key}: `{text}` is !!binary; write it as text")))
            }
            YamlData::Representation(text, ..) => Ok(Written { text: text.to_string(), marker }),
            _ => {
                Err(ImportError::at(marker, format!("{key}: expected a text, found {}; is it in quotes?", self.kind())))
            }
        }
    }

    fn kind(self) -> &'static str {
        match self.data() {
            YamlData::Sequence(_) => "a list",
            YamlData::Mapping(_) => "a map",
            _ if self.is_null() => "nothing",
            _ => "a text",
        }
    }
}

#[cfg(test)]
mod tests;
