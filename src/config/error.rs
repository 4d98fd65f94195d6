//! What can be wrong with a configuration, and where.

use std::fmt;

use serde::Serialize;

/// Where a value, or a problem, comes from. Later variants override earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A TOML file.
    File {
        /// The file's name as the shell gave it.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag.
    Flag {
        /// What was given, `section.key=value`.
        text: String,
    },
}

/// `node.toml:12:3`, `environment PEERSTAGE_NETWORK__MAX_PEERS`, `flag network.max_peers=9`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Origin::Environment { variable } => write!(f, "environment {variable}"),
            Origin::Flag { text } => write!(f, "flag {text}"),
        }
    }
}

/// A configuration that can't be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigError {
    /// Never empty, in the order of the layers and of the lines.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// The text isn't TOML.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// There is no such section.
    #[error("unknown section [{section}]{}", hint(nearest))]
    UnknownSection {
        /// What was written.
        section: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// There is no such key in the section.
    #[error("unknown key {key:?} in [{section}]{}", hint(nearest))]
    UnknownKey {
        /// The section, which exists.
        section: String,
        /// What was written.
        key: String,
        /// What was probably meant: a key of the section, or `section.key` of another.
        nearest: Option<String>,
    },
    /// A value stands where a section is expected.
    #[error("{key:?} stands outside of every section{}", hint(nearest))]
    Outside {
        /// What was written.
        key: String,
        /// What was probably meant, as `section.key`.
        nearest: Option<String>,
    },
    /// A variable has our prefix and one underscore too few.
    #[error("two underscores separate section and key; write {variable}")]
    Underscore {
        /// The right spelling.
        variable: String,
    },
    /// A flag isn't `section.key=value`.
    #[error("expected section.key=value")]
    FlagShape,
    /// A value is of the wrong type or can't be read.
    #[error("{key} expects {expected}: {message}{}", hint(nearest))]
    Value {
        /// `section.key`.
        key: String,
        /// What the key takes.
        expected: String,
        /// What is wrong with what was written.
        message: String,
        /// The nearest of the key's words.
        nearest: Option<String>,
    },
    /// A value is outside of its limits.
    #[error("{key} = {value} is out of range: expected {expected}")]
    Range {
        /// `section.key`.
        key: String,
        /// The value.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// A value breaks a rule, or contradicts another key.
    #[error("{message}")]
    Rule {
        /// The keys concerned, as `section.key`.
        keys: Vec<String>,
        /// The rule, with the values.
        message: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// `node.toml:12:3: unknown key "max_pears" in [network]; did you mean "max_peers"?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Default => self.fault.fmt(f),
            _ => write!(f, "{}: {}", self.origin, self.fault),
        }
    }
}

/// One problem a line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// An error if there are problems.
    pub(super) fn from_problems(problems: Vec<Problem>) -> Result<(), ConfigError> {
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}
