//! Puts the layers on top of each other and remembers where each value came from.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, ValueDeserializer},
};

use super::{
    Config, ConfigError, Fault, Key, Origin, Problem, SECTIONS, VARIABLE_PREFIX, keys,
    names::{nearest, nearest_key, nearest_section},
    validate,
};

/// The layers above the defaults, as text. [`Layers::load`] makes a configuration of them.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    files: Vec<(String, String)>,
    variables: BTreeMap<String, String>,
    flags: Vec<String>,
}

/// A configuration and the origin of every value in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// For every key, as `section.key`, who set it.
    pub origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// The defaults alone.
    #[must_use]
    pub fn new() -> Self {
        Layers::default()
    }

    /// Adds a TOML file, over the files before it. The name is for messages.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Adds environment variables, over all files. Those without our prefix are ignored, and
    /// so are those without `__`, which container platforms invent (`PEERSTAGE_PORT`), unless
    /// only an underscore is missing.
    #[must_use]
    pub fn environment<Name: Into<String>, Value: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (Name, Value)>,
    ) -> Self {
        self.variables
            .extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds flags `section.key=value`, over everything; a later flag wins.
    #[must_use]
    pub fn flags<Flag: Into<String>>(mut self, flags: impl IntoIterator<Item = Flag>) -> Self {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// The configuration these layers make.
    ///
    /// # Errors
    /// Every problem of every layer; if there are none, every limit exceeded; if there are
    /// none, every contradiction between keys.
    pub fn load(&self) -> Result<Resolved, ConfigError> {
        let mut loader = Loader {
            config: Config::default(),
            origins: keys().map(|key| (key.path(), Origin::Default)).collect(),
            problems: Vec::new(),
        };
        for (name, text) in &self.files {
            loader.on_file(name, text);
        }
        for (variable, value) in &self.variables {
            loader.on_variable(variable, value);
        }
        for flag in &self.flags {
            loader.on_flag(flag);
        }
        ConfigError::from_problems(loader.problems)?;
        let Loader { config, origins, .. } = loader;
        ConfigError::from_problems(validate::problems(&config, &origins))?;
        Ok(Resolved { config, origins })
    }
}

/// A configuration in the making.
struct Loader {
    config: Config,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Loader {
    fn on_file(&mut self, name: &str, text: &str) {
        let lines = Lines::new(name, text);
        let earlier = self.problems.len();
        let (table, errors) = DeTable::parse_recoverable(text);
        // After a syntax error the rest is a guess of the parser: reporting it would confuse.
        if errors.is_empty() {
            for (section, value) in table.get_ref() {
                self.on_section(&lines, section, value);
            }
        }
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().replace('\n', ", ");
            // The parser points at the key and leaves its name out.
            if let Some(name) = text.get(span.clone()).filter(|_| message == "duplicate key") {
                message = format!("{message} {:?}", name.trim());
            }
            self.report(lines.at(span.start), Fault::Syntax { message });
        }
        let mut found = self.problems.split_off(earlier);
        found.sort_by(|a, b| a.origin.cmp(&b.origin));
        // Of several syntax errors in a line, the later are consequences of the first.
        found.dedup_by(|later, first| {
            matches!(first.fault, Fault::Syntax { .. }) && same_line(&later.origin, &first.origin)
        });
        self.problems.append(&mut found);
    }

    fn on_section(
        &mut self,
        lines: &Lines<'_>,
        section: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = section.get_ref().as_ref();
        let known = SECTIONS.iter().any(|section| section.name == name);
        let DeValue::Table(table) = value.get_ref() else {
            let nearest = nearest_key(None, name);
            let fault = Fault::Outside { key: name.to_string(), nearest };
            return self.report(lines.at(section.span().start), fault);
        };
        if !known {
            return self.report(lines.at(section.span().start), unknown_section(name));
        }
        for (written, value) in table {
            let origin = lines.at(written.span().start);
            let Some(key) = find(name, written.get_ref()) else {
                self.report(origin, unknown_key(name, written.get_ref()));
                continue;
            };
            match (key.set)(&mut self.config, ValueDeserializer::from(value.clone())) {
                Ok(()) => drop(self.origins.insert(key.path(), origin)),
                Err(error) => {
                    let start = self.wrong_element(key, value).unwrap_or(value.span().start);
                    let fault = wrong_value(key, value.get_ref().as_str(), error.message());
                    self.report(lines.at(start), fault);
                }
            }
        }
    }

    /// Where the first element of a list is that the key refuses alone.
    fn wrong_element(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<usize> {
        let DeValue::Array(list) = value.get_ref() else {
            return None;
        };
        let mut scratch = self.config.clone();
        let refused = list.iter().find(|element| {
            let mut alone = DeArray::new();
            alone.push((*element).clone());
            let alone = Spanned::new(value.span(), DeValue::Array(alone));
            (key.set)(&mut scratch, ValueDeserializer::from(alone)).is_err()
        });
        refused.map(|element| element.span().start)
    }

    fn on_variable(&mut self, variable: &str, value: &str) {
        let Some(rest) = variable.strip_prefix(VARIABLE_PREFIX) else {
            return;
        };
        let origin = Origin::Environment { variable: variable.to_string() };
        match rest.split_once("__") {
            Some((section, name)) => {
                let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
                self.on_text(origin, &section, &name, value);
            }
            None => {
                let meant = keys()
                    .map(Key::variable)
                    .find(|known| known.replacen("__", "_", 1) == variable);
                if let Some(variable) = meant {
                    self.report(origin, Fault::Underscore { variable });
                }
            }
        }
    }

    fn on_flag(&mut self, flag: &str) {
        let origin = Origin::Flag { text: flag.to_string() };
        let parts =
            flag.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
        match parts {
            Some(((section, name), value)) => self.on_text(origin, section, name, value),
            None => self.report(origin, Fault::FlagShape),
        }
    }

    /// A value that came as bare text: `80`, `flood`, `"quoted"`, `[1, 2]` or `one, two`.
    fn on_text(&mut self, origin: Origin, section: &str, name: &str, text: &str) {
        if !SECTIONS.iter().any(|known| known.name == section) {
            return self.report(origin, unknown_section(section));
        }
        let Some(key) = find(section, name) else {
            return self.report(origin, unknown_key(section, name));
        };
        match set_from_text(&mut self.config, key, text) {
            Ok(()) => drop(self.origins.insert(key.path(), origin)),
            Err(error) => self.report(origin, wrong_value(key, Some(text), error.message())),
        }
    }

    fn report(&mut self, origin: Origin, fault: Fault) {
        self.problems.push(Problem { origin, fault });
    }
}

fn same_line(a: &Origin, b: &Origin) -> bool {
    matches!((a, b), (Origin::File { line: a, .. }, Origin::File { line: b, .. }) if a == b)
}

fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys().find(|key| key.section == section && key.name == name)
}

fn unknown_section(name: &str) -> Fault {
    Fault::UnknownSection { section: name.to_string(), nearest: nearest_section(name) }
}

fn unknown_key(section: &str, name: &str) -> Fault {
    Fault::UnknownKey {
        section: section.to_string(),
        key: name.to_string(),
        nearest: nearest_key(Some(section), name),
    }
}

fn wrong_value(key: &Key, written: Option<&str>, message: &str) -> Fault {
    let word = written.and_then(|word| nearest(word, key.choices.iter().copied()));
    Fault::Value {
        key: key.path(),
        expected: key.expectation(),
        message: message.replace('\n', ", "),
        nearest: word.map(str::to_string),
    }
}

/// Tries TOML first, then the text as it stands; lists may also be written with commas.
fn set_from_text(config: &mut Config, key: &Key, text: &str) -> Result<(), toml::de::Error> {
    let is_list = key.value(config).is_array();
    if is_list && !text.trim_start().starts_with('[') {
        let mut list = DeArray::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            list.push(string(item));
        }
        let list = Spanned::new(0..text.len(), DeValue::Array(list));
        return (key.set)(config, ValueDeserializer::from(list));
    }
    let as_toml =
        DeValue::parse(text).map(|value| (key.set)(config, ValueDeserializer::from(value)));
    match as_toml {
        Ok(Ok(())) => Ok(()),
        // It was TOML of another type: for a text key `80` is a text, for others an error.
        Ok(Err(error)) => {
            (key.set)(config, ValueDeserializer::from(string(text))).map_err(|_| error)
        }
        Err(_) => (key.set)(config, ValueDeserializer::from(string(text))),
    }
}

fn string(text: &str) -> Spanned<DeValue<'_>> {
    Spanned::new(0..text.len(), DeValue::String(Cow::Borrowed(text)))
}

/// Turns byte offsets of a file into lines and columns.
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(name: &'a str, text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(index, _)| index + 1);
        Lines { name, text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Origin::File { name: self.name.to_string(), line, column: before.chars().count() + 1 }
    }
}
