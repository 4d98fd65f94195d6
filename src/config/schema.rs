//! One declaration for each section: the struct, its defaults, its limits, its documentation
//! and the table through which layers are applied and files are written all come from it.

use std::fmt::Display;

use toml::de::ValueDeserializer;

use super::Config;

/// One key of the configuration, for whoever applies, checks, prints or documents it.
#[derive(Clone, Copy)]
pub struct Key {
    /// The section it belongs to.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What it does, its unit and where the default comes from: one entry a line.
    pub documentation: &'static [&'static str],
    /// What kind of value it takes, in words.
    pub kind: &'static str,
    /// Its values, if they can be listed.
    pub choices: &'static [&'static str],
    /// The least and the greatest value, if there are.
    pub bounds: fn() -> Option<(String, String)>,
    pub(super) get: fn(&Config) -> toml::Value,
    pub(super) set: fn(&mut Config, ValueDeserializer<'_>) -> Result<(), toml::de::Error>,
    pub(super) is_inside: fn(&Config) -> bool,
}

impl Key {
    /// `section.name`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it: `PEERSTAGE_SECTION__NAME`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}__{}", super::VARIABLE_PREFIX, self.section, self.name).to_ascii_uppercase()
    }

    /// Its value in a configuration.
    #[must_use]
    pub fn value(&self, config: &Config) -> toml::Value {
        (self.get)(config)
    }

    /// The same, short: without the examples, which a document gives once.
    #[must_use]
    pub fn summary(&self) -> String {
        self.describe(self.kind.split(" such as ").next().unwrap_or(self.kind))
    }

    /// What an operator may write, in words: the kind, with its bounds or choices.
    #[must_use]
    pub fn expectation(&self) -> String {
        self.describe(self.kind)
    }

    fn describe(&self, kind: &str) -> String {
        if !self.choices.is_empty() {
            let words: Vec<String> = self.choices.iter().map(|word| format!("{word:?}")).collect();
            return words.join(", ");
        }
        match (self.bounds)() {
            Some((low, high)) => format!("{kind}, from {low} to {high}"),
            None => kind.to_string(),
        }
    }
}

pub(super) fn bounds<T: Display>(low: T, high: T) -> Option<(String, String)> {
    Some((low.to_string(), high.to_string()))
}

/// NaN is outside of everything.
pub(super) fn is_inside<T: PartialOrd>(value: &T, low: &T, high: &T) -> bool {
    value >= low && value <= high
}

/// Declares a section. After a default, `in LOW => HIGH` limits the value.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident in $section:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $key:ident: $Type:ty = $default:expr $(, in $low:expr => $high:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Name {
            $($(#[doc = $doc])+ pub $key: $Type,)+
        }

        impl Default for $Name {
            fn default() -> Self {
                $Name { $($key: $default,)+ }
            }
        }

        impl $Name {
            /// What the section is for, a line each.
            pub(in crate::config) const ABOUT: &'static [&'static str] = &[$($about),+];

            /// Its keys, in the order they are printed.
            pub(in crate::config) const KEYS: &'static [crate::config::Key] = &[$(
                crate::config::Key {
                    section: stringify!($section),
                    name: stringify!($key),
                    documentation: &[$($doc),+],
                    kind: <$Type as crate::config::values::Field>::KIND,
                    choices: <$Type as crate::config::values::Field>::CHOICES,
                    bounds: || {
                        $(return crate::config::schema::bounds::<$Type>($low, $high);)?
                        #[allow(unreachable_code)]
                        None
                    },
                    get: |config| {
                        // Every type of `Field` has a TOML form.
                        toml::Value::try_from(&config.$section.$key)
                            .unwrap_or_else(|_| toml::Value::String(String::new()))
                    },
                    set: |config, value| {
                        config.$section.$key = serde::Deserialize::deserialize(value)?;
                        Ok(())
                    },
                    is_inside: |_config| {
                        $(return crate::config::schema::is_inside::<$Type>(
                            &_config.$section.$key, &$low, &$high,
                        );)?
                        #[allow(unreachable_code)]
                        true
                    },
                },
            )+];
        }
    };
}
pub(super) use section;
