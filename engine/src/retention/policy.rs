//! Retention policies as people type them: `last 30, within 7d, hourly 90d, monthly forever, tagged`.
//!
//! One parser, used by settings, command line and SQL alike. A policy tells what is kept; whatever none of its rules
//! keeps may go. It knows no versions and no clock.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;

const SECOND: i64 = 1_000_000;
/// The units of lengths of time, longest first, in microseconds.
const UNITS: [(&str, i64); 6] = [
    ("y", 365 * 86_400 * SECOND),
    ("w", 7 * 86_400 * SECOND),
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
];

/// Policies that have a name.
const PRESETS: [(&str, &str); 2] = [
    ("high-frequency", "last 100, within 1d, hourly 7d, daily 90d, monthly forever"),
    ("compliance", "last 30, within 7y, monthly forever"),
];

/// How far back a rule reaches from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// So many microseconds.
    Micros(i64),
    /// Without end.
    Forever,
}

impl Window {
    /// A length of time such as `90d`, `12h`, `1y`, or `forever`.
    pub fn parse(text: &str) -> Result<Window> {
        let wrong = || {
            Error::invalid(format!(
                "'{text}' is no length of time; give one such as 90d (s, m, h, d, w, y), or forever"
            ))
        };
        if text == "forever" {
            return Ok(Window::Forever);
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let length = number.parse::<i64>().ok().and_then(|number| number.checked_mul(*micros));
        length.filter(|length| *length > 0).map(Window::Micros).ok_or_else(wrong)
    }

    /// The time it reaches back to.
    pub fn start(self, now: i64) -> i64 {
        match self {
            Window::Micros(micros) => now.saturating_sub(micros),
            Window::Forever => i64::MIN,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window::Micros(micros) = self else { return out.write_str("forever") };
        if *micros == 0 {
            return out.write_str("0h");
        }
        // People count in days.
        let fits = |(name, unit): &&(&str, i64)| *name != "w" && micros % unit == 0;
        let (name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1]);
        write!(out, "{}{name}", micros / unit)
    }
}

/// Of each hour, day, .. (UTC) the last version is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Of each hour.
    Hourly,
    /// Of each day.
    Daily,
    /// Of each week, from Monday on.
    Weekly,
    /// Of each month.
    Monthly,
    /// Of each year.
    Yearly,
}

impl Tier {
    /// All of them.
    pub const ALL: [Tier; 5] = [Tier::Hourly, Tier::Daily, Tier::Weekly, Tier::Monthly, Tier::Yearly];

    /// Its word in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Hourly => "hourly",
            Tier::Daily => "daily",
            Tier::Weekly => "weekly",
            Tier::Monthly => "monthly",
            Tier::Yearly => "yearly",
        }
    }
}

/// What is kept of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// So many of its newest states.
    pub last: Option<u64>,
    /// Every state that was the newest within this window.
    pub within: Option<Window>,
    /// The last state of each hour, day, .. within a window.
    pub tiers: BTreeMap<Tier, Window>,
}

impl Policy {
    /// Reads a policy: rules with commas between, or the name of a preset.
    pub fn parse(text: &str) -> Result<Policy> {
        let text = text.trim();
        if let Some((_, rules)) = PRESETS.iter().find(|(name, _)| *name == text) {
            return Policy::parse(rules);
        }
        let mut policy = Policy::default();
        let mut any = false;
        for rule in text.split(',').map(str::trim) {
            any |= policy.add(rule).map_err(|error| error.at(format!("retention policy '{text}'")))?;
        }
        match any {
            true => Ok(policy),
            false => Err(Error::invalid(format!("retention policy '{text}' has no rule; {}", forms()))),
        }
    }

    fn add(&mut self, rule: &str) -> Result<bool> {
        let mut words = rule.split_whitespace();
        let (word, value, rest) = (words.next().unwrap_or(""), words.next(), words.next());
        let unknown = || Error::invalid(format!("'{rule}' is no rule; {}", forms()));
        let twice = || Error::invalid(format!("'{word}' is given twice; give it once"));
        if rest.is_some() {
            return Err(unknown());
        }
        let window = || Window::parse(value.ok_or_else(unknown)?);
        match word {
            // Tags keep what they name whatever the policy: the word says so.
            "tagged" if value.is_none() => return Ok(true),
            "everything" if value.is_none() => {
                if self.within.replace(Window::Forever).is_some() {
                    return Err(twice());
                }
            }
            "last" => {
                let count = value.and_then(|value| value.parse::<u64>().ok()).filter(|count| *count > 0);
                if self.last.replace(count.ok_or_else(unknown)?).is_some() {
                    return Err(twice());
                }
            }
            "within" => {
                if self.within.replace(window()?).is_some() {
                    return Err(twice());
                }
            }
            word => {
                let tier = Tier::ALL.into_iter().find(|tier| tier.word() == word).ok_or_else(unknown)?;
                if self.tiers.insert(tier, window()?).is_some() {
                    return Err(twice());
                }
            }
        }
        Ok(true)
    }
}

fn forms() -> String {
    let presets: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    format!(
        "rules are 'last N', 'within D', 'hourly D', 'daily D', 'weekly D', 'monthly D', 'yearly D', 'tagged', \
         'everything', with commas between, or a preset: {}",
        presets.join(", ")
    )
}

impl fmt::Display for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.within == Some(Window::Forever) {
            return out.write_str("everything");
        }
        let mut rules: Vec<String> = Vec::new();
        rules.extend(self.last.map(|count| format!("last {count}")));
        rules.extend(self.within.map(|window| format!("within {window}")));
        rules.extend(self.tiers.iter().map(|(tier, window)| format!("{} {window}", tier.word())));
        rules.push("tagged".to_string());
        out.write_str(&rules.join(", "))
    }
}

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where the last star is, and how much of the name it stands for.
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[place] => (at, place) = (at + 1, place + 1),
            _ => match star {
                Some((before, from)) => {
                    star = Some((before, from + 1));
                    (at, place) = (before + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_shown_in_one_order() {
        let shown = |text: &str| Policy::parse(text).unwrap().to_string();
        let all =
            "last 30, within 7d, hourly 90d, daily 1y, weekly 2y, monthly forever, yearly forever, tagged";
        assert_eq!(shown(all), all);
        assert_eq!(
            shown(" monthly forever ,hourly 36h, last 5"),
            "last 5, hourly 36h, monthly forever, tagged"
        );
        assert_eq!(shown("tagged"), "tagged");
        assert_eq!(shown("everything"), "everything");
        assert_eq!(shown("within 14d, last 3"), "last 3, within 14d, tagged");
        for (name, rules) in PRESETS {
            assert_eq!(Policy::parse(name).unwrap(), Policy::parse(rules).unwrap());
        }
    }

    #[test]
    fn what_is_no_policy_is_refused_with_the_forms_there_are() {
        let refused = |text: &str| Policy::parse(text).unwrap_err().to_string();
        for bad in ["", ",", "last", "last 0", "last x", "last -1", "forever", "hourly", "last 3 4", "keep 3"]
        {
            assert!(refused(bad).contains("'last N', 'within D'"), "{bad}: {}", refused(bad));
        }
        for bad in ["hourly 3", "daily 3x", "daily -3d", "within 0d", "within 99999999999y", "monthly é"] {
            assert!(refused(bad).contains("no length of time; give one such as 90d"), "{bad}");
        }
        for bad in ["last 1, last 2", "daily 1d, daily 2d", "within 1d, everything"] {
            assert!(refused(bad).contains("given twice"), "{bad}");
        }
    }

    #[test]
    fn stars_and_question_marks_stand_for_others() {
        for (pattern, name) in
            [("*", ""), ("*", "a"), ("prod_*", "prod_2026"), ("*_q?", "audit_q3"), ("a*b*c", "a1b2b3c")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("", "a"), ("a", ""), ("prod_*", "pro"), ("?", ""), ("a*b", "a1c"), ("a", "ab")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
