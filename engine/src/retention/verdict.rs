//! Which states of a table a policy keeps, and by which reason.
//!
//! A *state* is what a table was from one change of it to the next: all versions between show the same, so they are kept
//! or go together, and a policy counts states, not versions of the database. Pure: versions, times and names of tags go
//! in, reasons come out. A state is kept if and only if there is a reason.

use super::policy::{Policy, Tier, Window};
use crate::text::{civil_of_days, days_of_civil};
use std::fmt;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// A table from one change to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableState {
    /// The version that made it.
    pub from: u64,
    /// The version that ended it; `u64::MAX` while it is in force.
    pub to: u64,
    /// The commit time of `from`.
    pub time: i64,
    /// That of `to`; `i64::MAX` while it is in force.
    pub until: i64,
}

/// A tag that keeps what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its version.
    pub version: u64,
    /// Its name.
    pub tag: String,
    /// Whether it ends by itself: a hold.
    pub ends: bool,
}

/// Why a state is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is the newest of its table.
    Newest,
    /// It is not in data files yet, or the first commits that are not go on from it.
    Unsettled,
    /// The archive that is to hold it first does not have all of it yet.
    Unarchived,
    /// It is among the newest so many.
    Last(u64),
    /// It was in force within this window.
    Within(String),
    /// It is the last of an hour, a day, ..: which.
    Tier(Tier, String),
    /// A tag names it; `true` for one that ends by itself.
    Tag(String, bool),
    /// Nobody has said that it may go.
    NoPolicy,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Newest => out.write_str("newest"),
            Reason::Unsettled => out.write_str("not yet settled"),
            Reason::Unarchived => out.write_str("not yet archived"),
            Reason::Last(count) => write!(out, "last {count}"),
            Reason::Within(window) => write!(out, "within {window}"),
            Reason::Tier(tier, which) => write!(out, "{} {which}", tier.word()),
            Reason::Tag(name, false) => write!(out, "tag {name}"),
            Reason::Tag(name, true) => write!(out, "hold {name}"),
            Reason::NoPolicy => out.write_str("no policy"),
        }
    }
}

/// The number of the hour, day, .. that a time lies in.
fn bucket(tier: Tier, time: i64) -> i64 {
    let days = time.div_euclid(DAY);
    match tier {
        Tier::Hourly => time.div_euclid(HOUR),
        Tier::Daily => days,
        // 1970-01-01 was a Thursday.
        Tier::Weekly => (days + 3).div_euclid(7),
        Tier::Monthly => {
            let (year, month, _) = civil_of_days(days);
            year * 12 + i64::from(month) - 1
        }
        Tier::Yearly => civil_of_days(days).0,
    }
}

/// How that is written.
fn label(tier: Tier, bucket: i64) -> String {
    let date = |days: i64| {
        let (year, month, day) = civil_of_days(days);
        format!("{year:04}-{month:02}-{day:02}")
    };
    match tier {
        Tier::Hourly => format!("{}T{:02}", date(bucket.div_euclid(24)), bucket.rem_euclid(24)),
        Tier::Daily => date(bucket),
        Tier::Weekly => date(bucket * 7 - 3),
        Tier::Monthly => format!("{:04}-{:02}", bucket.div_euclid(12), bucket.rem_euclid(12) + 1),
        Tier::Yearly => format!("{bucket:04}"),
    }
}

/// The month of a time, and the time at which the next one begins.
pub(crate) fn month_of(time: i64) -> (String, i64) {
    let month = bucket(Tier::Monthly, time);
    let next = month + 1;
    let start = days_of_civil(next.div_euclid(12), next.rem_euclid(12) as u32 + 1, 1);
    (label(Tier::Monthly, month), start.saturating_mul(DAY))
}

/// Up to which version what goes is held elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// By data files.
    pub settled: u64,
    /// By the archive that must hold it; `u64::MAX` where none must.
    pub archived: u64,
}

/// The reasons for which each state is kept, of states in order; none where a state may go.
pub fn verdicts(
    states: &[TableState],
    policy: Option<&Policy>,
    pins: &[Pin],
    now: i64,
    held: Held,
) -> Vec<Vec<Reason>> {
    let reasons_of = |(index, state): (usize, &TableState)| {
        let mut reasons = Vec::new();
        if state.to == u64::MAX {
            reasons.push(Reason::Newest);
        } else if state.to > held.settled {
            reasons.push(Reason::Unsettled);
        } else if state.to > held.archived {
            reasons.push(Reason::Unarchived);
        }
        match policy {
            Some(policy) => by_policy(states, index, policy, now, &mut reasons),
            None => reasons.push(Reason::NoPolicy),
        }
        let tags = pins.iter().filter(|pin| (state.from..state.to).contains(&pin.version));
        reasons.extend(tags.map(|pin| Reason::Tag(pin.tag.clone(), pin.ends)));
        reasons
    };
    states.iter().enumerate().map(reasons_of).collect()
}

fn by_policy(states: &[TableState], index: usize, policy: &Policy, now: i64, reasons: &mut Vec<Reason>) {
    let state = &states[index];
    let reaches = |window: Window| state.until > window.start(now);
    let newer = (states.len() - 1 - index) as u64;
    reasons.extend(policy.last.filter(|count| newer < *count).map(Reason::Last));
    let within = policy.within.filter(|window| reaches(*window));
    reasons.extend(within.map(|window| Reason::Within(window.to_string())));
    for (tier, window) in &policy.tiers {
        let own = bucket(*tier, state.time);
        let is_last = states.get(index + 1).is_none_or(|next| bucket(*tier, next.time) != own);
        if is_last && reaches(*window) {
            reasons.push(Reason::Tier(*tier, label(*tier, own)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// States that begin at these times, at versions 1, 2, ..
    fn states(times: &[i64]) -> Vec<TableState> {
        let state = |(index, time): (usize, &i64)| TableState {
            from: index as u64 + 1,
            to: if index + 1 == times.len() { u64::MAX } else { index as u64 + 2 },
            time: *time,
            until: times.get(index + 1).copied().unwrap_or(i64::MAX),
        };
        times.iter().enumerate().map(state).collect()
    }

    fn held(settled: u64) -> Held {
        Held { settled, archived: u64::MAX }
    }

    fn kept(times: &[i64], policy: &str, pins: &[Pin], now: i64) -> Vec<u64> {
        let states = states(times);
        let policy = Policy::parse(policy).unwrap();
        let verdicts = verdicts(&states, Some(&policy), pins, now, held(1_000));
        let kept = states.iter().zip(verdicts).filter(|(_, reasons)| !reasons.is_empty());
        kept.map(|(state, _)| state.from).collect()
    }

    #[test]
    fn each_rule_keeps_what_it_says_and_the_newest_always_stays() {
        let times: Vec<i64> = (0..10).map(|number| number * HOUR / 2).collect();
        let now = 5 * HOUR;
        assert_eq!(kept(&times, "tagged", &[], now), [10]);
        assert_eq!(kept(&times, "last 3", &[], now), [8, 9, 10]);
        assert_eq!(kept(&times, "last 99", &[], now).len(), 10);
        // The state that was in force when the window began is within it.
        assert_eq!(kept(&times, "within 1h", &[], now), [9, 10]);
        assert_eq!(kept(&times, "within 70m", &[], now), [8, 9, 10]);
        assert_eq!(kept(&times, "hourly forever", &[], now), [2, 4, 6, 8, 10]);
        assert_eq!(kept(&times, "hourly 3h", &[], now), [6, 8, 10]);
        assert_eq!(kept(&times, "daily forever", &[], now), [10]);
        assert_eq!(kept(&times, "everything", &[], now).len(), 10);
        let pin = Pin { version: 3, tag: "q1".into(), ends: false };
        assert_eq!(kept(&times, "last 1", &[pin], now), [3, 10]);
    }

    #[test]
    fn hours_weeks_and_months_are_those_of_utc() {
        let day = |year, month, day| days_of_civil(year, month, day) * DAY;
        let labels = |time: i64| Tier::ALL.map(|tier| label(tier, bucket(tier, time)));
        assert_eq!(
            labels(day(2026, 2, 15) + 23 * HOUR + 1),
            ["2026-02-15T23", "2026-02-15", "2026-02-09", "2026-02", "2026"]
        );
        assert_eq!(
            labels(day(1969, 12, 31) + 1),
            ["1969-12-31T00", "1969-12-31", "1969-12-29", "1969-12", "1969"]
        );
        assert_eq!(month_of(day(2026, 12, 3)), ("2026-12".to_string(), day(2027, 1, 1)));
        let times = [day(2026, 1, 4), day(2026, 1, 5), day(2026, 1, 11), day(2026, 2, 1), day(2027, 1, 1)];
        let now = day(2027, 1, 2);
        assert_eq!(kept(&times, "weekly forever", &[], now), [1, 3, 4, 5]);
        assert_eq!(kept(&times, "monthly forever", &[], now), [3, 4, 5]);
        assert_eq!(kept(&times, "yearly forever", &[], now), [4, 5]);
    }

    #[test]
    fn what_is_not_settled_stays_and_without_a_policy_everything_does() {
        let states = states(&[0, 1, 2, 3]);
        let policy = Policy::parse("tagged").unwrap();
        let reasons = verdicts(&states, Some(&policy), &[], 10, held(2));
        assert_eq!(reasons, [vec![], vec![Reason::Unsettled], vec![Reason::Unsettled], vec![Reason::Newest]]);
        let reasons = verdicts(&states, Some(&policy), &[], 10, Held { settled: 9, archived: 3 });
        assert_eq!(reasons, [vec![], vec![], vec![Reason::Unarchived], vec![Reason::Newest]]);
        assert!(
            verdicts(&states, None, &[], 10, held(9))
                .iter()
                .all(|reasons| reasons.contains(&Reason::NoPolicy))
        );
    }
}
