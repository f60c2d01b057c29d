//! Settings that are kept in the database, by name; as of now all are of retention.
//!
//! | name | value |
//! |---|---|
//! | `retention.database` | a policy |
//! | `retention.namespace.NAME` | a policy, for tables of a namespace |
//! | `retention.table.NAME` | a policy, for one table |
//! | `retention.tag.PATTERN` | how long tags of such names protect what they name, from when they were made |
//!
//! The nearest policy wins: that of the table, of its namespace, of the database. Of patterns the longest wins.

use super::policy::{Policy, Window, fits};
use super::verdict::Pin;
use crate::api::Tag;
use crate::error::{Error, ErrorKind, Result};
use asof_mvcc::{CommitTime, Version};
use std::collections::BTreeMap;

const DATABASE: &str = "retention.database";
const NAMESPACE: &str = "retention.namespace.";
const TABLE: &str = "retention.table.";
const TAG: &str = "retention.tag.";
/// The longest name or value of a setting, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Settings by name.
pub type Settings = BTreeMap<String, String>;

/// A setting's value as it is kept; refuses a name that is none, and a value that it cannot have.
pub fn checked(name: &str, value: &str) -> Result<String> {
    if name.len() > TEXT_BYTES_MAX || value.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(format!("a setting is at most {TEXT_BYTES_MAX} bytes long")));
    }
    let of = |start: &str| name.strip_prefix(start).filter(|rest| !rest.is_empty());
    let value = value.trim();
    let checked = if name == DATABASE || of(NAMESPACE).is_some() || of(TABLE).is_some() {
        Policy::parse(value).map(|_| value.to_string())
    } else if of(TAG).is_some() {
        Window::parse(value).map(|window| window.to_string())
    } else {
        return Err(unknown(name));
    };
    checked.map_err(|error| error.at(name))
}

/// The error for a setting that has no value.
pub fn not_set(name: &str) -> Error {
    match checked(name, "") {
        Err(error) if error.kind() == ErrorKind::NotFound => error,
        _ => Error::not_found(format!("{name} is not set")),
    }
}

/// The error for a name that no setting has.
pub fn unknown(name: &str) -> Error {
    let names = [DATABASE, "retention.namespace.NAME", "retention.table.NAME", "retention.tag.PATTERN"];
    Error::not_found(format!("there is no setting '{name}'; settings are {}", names.join(", ")))
        .with_nearest(names.map(str::to_string).to_vec())
}

/// What a retention run goes by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    settings: Settings,
    /// For all tables instead of what settings say.
    policy: Option<Policy>,
    /// Patterns of tags beside those of settings, and before them.
    patterns: Vec<(String, Window)>,
    /// Up to where an archive must hold what goes, if it must.
    archived: Option<Version>,
}

impl Rules {
    /// Those of settings, with a policy and patterns that are given for once.
    pub fn new(settings: Settings, policy: Option<Policy>, patterns: Vec<(String, Window)>) -> Rules {
        Rules { settings, policy, patterns, archived: None }
    }

    /// The same, of a database of which an archive holds the versions up to this one: what ended after it stays.
    pub fn up_to(self, archived: Option<Version>) -> Rules {
        Rules { archived, ..self }
    }

    /// The newest version that an archive holds, where it must hold what goes.
    pub fn archived(&self) -> Option<Version> {
        self.archived
    }

    /// The policy of a table, by its full name, and where it is from.
    pub fn policy_of(&self, table: &str) -> Result<Option<(String, Policy)>> {
        if let Some(policy) = &self.policy {
            return Ok(Some(("given".to_string(), policy.clone())));
        }
        let namespace = table.rsplit_once('.').map(|(namespace, _)| format!("{NAMESPACE}{namespace}"));
        let names = [Some(format!("{TABLE}{table}")), namespace, Some(DATABASE.to_string())];
        for name in names.into_iter().flatten() {
            if let Some(text) = self.settings.get(&name) {
                let policy = Policy::parse(text).map_err(|error| error.at(&name))?;
                return Ok(Some((name, policy)));
            }
        }
        Ok(None)
    }

    /// Whether any policy is set.
    pub fn has_policy(&self) -> bool {
        let is_policy = |name: &String| name.starts_with("retention.") && !name.starts_with(TAG);
        self.policy.is_some() || self.settings.keys().any(is_policy)
    }

    /// How long tags of a name protect; for ever where no pattern fits.
    fn protection(&self, tag: &str) -> Result<Window> {
        if let Some((_, window)) = self.patterns.iter().find(|(pattern, _)| fits(pattern, tag)) {
            return Ok(*window);
        }
        let of_settings =
            self.settings.iter().filter_map(|(name, value)| Some((name.strip_prefix(TAG)?, value)));
        let fitting = of_settings.filter(|(pattern, _)| fits(pattern, tag));
        match fitting.max_by_key(|(pattern, _)| pattern.len()) {
            Some((pattern, text)) => Window::parse(text).map_err(|error| error.at(format!("{TAG}{pattern}"))),
            None => Ok(Window::Forever),
        }
    }

    /// The tags that keep what they name now: neither expired nor past the end of their protection.
    pub fn pins<'a>(&self, tags: impl Iterator<Item = &'a Tag>, now: CommitTime) -> Result<Vec<Pin>> {
        let mut pins = Vec::new();
        for tag in tags.filter(|tag| !tag.is_expired(now)) {
            if tag.created.0 > self.protection(&tag.name)?.start(now.0) {
                let (version, ends) = (tag.version.0, tag.expires.is_some());
                pins.push(Pin { version, tag: tag.name.clone(), ends });
            }
        }
        Ok(pins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| (name.to_string(), checked(name, value).unwrap())).collect()
    }

    #[test]
    fn the_nearest_policy_wins() {
        let rules = Rules::new(
            settings(&[
                ("retention.database", "last 1"),
                ("retention.namespace.gold", "last 2"),
                ("retention.table.gold.orders", "last 3"),
            ]),
            None,
            Vec::new(),
        );
        let last = |table| rules.policy_of(table).unwrap().unwrap().1.last;
        assert_eq!(
            [last("orders"), last("gold.customers"), last("gold.orders")],
            [Some(1), Some(2), Some(3)]
        );
        assert!(rules.has_policy());
        let none = Rules::new(settings(&[("retention.tag.x*", "3d")]), None, Vec::new());
        assert!(!none.has_policy() && none.policy_of("orders").unwrap().is_none());
    }

    #[test]
    fn tags_protect_until_they_expire_or_their_pattern_says_so() {
        let day = 86_400_000_000;
        let tag = |name: &str, age: i64, left: Option<i64>| Tag {
            name: name.to_string(),
            version: Version(7),
            message: None,
            created: CommitTime(-age * day),
            expires: left.map(|left| CommitTime(left * day)),
        };
        let tags = [
            tag("production_1", 100, None),
            tag("production_2", 80, None),
            tag("production_keep_1", 100, None),
            tag("audit", 9_999, None),
            tag("held", 10, Some(5)),
            tag("ended", 10, Some(-1)),
        ];
        let stored = settings(&[
            ("retention.tag.production_*", "90d"),
            ("retention.tag.production_keep_*", "forever"),
        ]);
        let names = |rules: &Rules| -> Vec<String> {
            rules.pins(tags.iter(), CommitTime(0)).unwrap().into_iter().map(|pin| pin.tag).collect()
        };
        let rules = Rules::new(stored.clone(), None, Vec::new());
        assert_eq!(names(&rules), ["production_2", "production_keep_1", "audit", "held"]);
        let given = vec![("*".to_string(), Window::parse("50d").unwrap())];
        assert_eq!(names(&Rules::new(stored, None, given)), ["held"]);
    }

    #[test]
    fn only_settings_that_there_are_can_be_set_and_to_what_they_can_be() {
        for (name, value) in
            [("retention.tables.x", "last 3"), ("retention.table.", "last 3"), ("colour", "red")]
        {
            assert!(checked(name, value).unwrap_err().to_string().contains("there is no setting"), "{name}");
        }
        assert!(
            checked("retention.tag.x", "soon")
                .unwrap_err()
                .to_string()
                .starts_with("retention.tag.x: 'soon'")
        );
        assert!(checked("retention.database", "last").is_err());
        assert_eq!(checked("retention.database", " compliance ").unwrap(), "compliance");
    }
}
