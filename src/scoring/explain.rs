//! Why a peer has the score it has: everything that `peerstage explain` shows.

use std::fmt;

use serde::Serialize;

use super::{
    Scoring,
    bans::BanRecord,
    facts::Fault,
    history::Event,
    peer::{TrackedPeer, decayed},
    policy::MILLION,
    score::{Axes, Axis, Score, Standing, TRUST_MAX},
};
use crate::{address::Address, identity::NodeId, time::Time};

/// A peer's score taken apart. The events replay it: start at `base`, add each event's changes,
/// and the score after the last one is `score`, to the thousandth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// When this was asked.
    pub now: Time,
    /// Whose, 64 hexadecimal digits.
    pub peer: String,
    /// Where it is or was connected.
    pub address: Option<Address>,
    /// Whether it is connected, and if so, whether we dialled.
    pub connected: Option<&'static str>,
    /// How it is treated.
    pub standing: Standing,
    /// The score.
    pub score: Score,
    /// The ban in force.
    pub ban: Option<BanRecord>,
    /// The six categories.
    pub categories: Vec<CategoryLine>,
    /// Their weighted sum, held above the ban line.
    pub service: Score,
    /// Fault points, 0 to 100.
    pub faults: Score,
    /// Fault points that ban.
    pub ban_line: Score,
    /// 0 to 1.
    pub trust: f64,
    /// 0 to 1.
    pub reputation: f64,
    /// The score before the first event listed.
    pub base: Score,
    /// How many earlier events the base sums up.
    pub folded: u64,
    /// The events, oldest first.
    pub events: Vec<EventLine>,
    /// What would lift a ban or bring the score back, in words.
    pub lifts: Vec<String>,
    /// What would ban, from here on.
    pub bans: Vec<BanCause>,
}

/// One category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryLine {
    /// Its name.
    pub name: &'static str,
    /// -100 to 100.
    pub value: Score,
    /// 0 to 1.
    pub weight: f64,
    /// Value times weight, rounded towards 0.
    pub contribution: Score,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventLine {
    /// When first.
    pub at: Time,
    /// When last.
    pub last: Time,
    /// How often.
    pub count: u32,
    /// Why.
    pub cause: String,
    /// What moved.
    pub changes: Vec<ChangeLine>,
    /// The score right after it, recomputed.
    pub after: Score,
}

/// One axis that an event moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeLine {
    /// Its name.
    pub axis: &'static str,
    /// By how much: points, for trust the fraction.
    pub change: f64,
}

/// How many faults of one kind would ban.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BanCause {
    /// The kind.
    pub fault: Fault,
    /// How many of them, one after the other.
    pub events: u32,
}

/// Periods looked ahead for "decays below in N periods".
const LOOK_AHEAD_PERIODS: u32 = 1_000;

impl Scoring {
    /// Why `peer` has the score it has; `None` for a stranger that is not banned.
    #[must_use]
    pub fn explain(&self, now: Time, peer: NodeId) -> Option<Explanation> {
        let ban = self.bans.get(&peer).cloned();
        let stranger;
        let tracked = match self.peers.get(&peer) {
            Some(tracked) => tracked,
            None => {
                ban.as_ref()?;
                stranger = TrackedPeer::new(now, &self.policy);
                &stranger
            }
        };
        let axes = &tracked.axes;
        let faults = axes.get(Axis::Faults);
        let direction = if tracked.outbound { "outbound" } else { "inbound" };
        Some(Explanation {
            now,
            peer: peer.to_string(),
            address: tracked.address.or(ban.as_ref().and_then(|ban| ban.address)),
            connected: tracked.connected.map(|_| direction),
            standing: self.standing(peer),
            score: self.policy.score(axes),
            lifts: self.lifts(now, ban.as_ref(), axes),
            ban,
            categories: Axis::CATEGORIES.map(|axis| self.category(axes, axis)).to_vec(),
            service: score_of(self.policy.service(axes)),
            faults: Score(faults),
            ban_line: Score(self.policy.fault_line),
            trust: f64::from(axes.get(Axis::Trust)) / f64::from(TRUST_MAX),
            reputation: tracked.reputation(&self.policy) as f64 / MILLION as f64,
            base: self.policy.score(tracked.history.base()),
            folded: tracked.history.folded(),
            events: self.event_lines(tracked),
            bans: self.ban_causes(faults),
        })
    }

    fn category(&self, axes: &Axes, axis: Axis) -> CategoryLine {
        CategoryLine {
            name: axis.name(),
            value: Score(axes.get(axis)),
            weight: self.policy.weight(axis) as f64 / MILLION as f64,
            contribution: score_of(self.policy.contribution(axes, axis)),
        }
    }

    fn event_lines(&self, tracked: &TrackedPeer) -> Vec<EventLine> {
        let line = |(event, state): (&Event, Axes)| EventLine {
            at: event.at,
            last: event.last,
            count: event.count,
            cause: event.cause.to_string(),
            changes: changes_of(&event.change),
            after: self.policy.score(&state),
        };
        tracked.history.replay().map(line).collect()
    }

    /// Fewest events first.
    fn ban_causes(&self, faults: i32) -> Vec<BanCause> {
        let cause = |fault: Fault| {
            self.policy.events_to_ban(fault, faults).map(|events| BanCause { fault, events })
        };
        let mut causes: Vec<BanCause> = Fault::ALL.into_iter().filter_map(cause).collect();
        causes.sort_by_key(|cause| (cause.events, cause.fault));
        causes
    }

    fn lifts(&self, now: Time, ban: Option<&BanRecord>, axes: &Axes) -> Vec<String> {
        let mut lifts = Vec::new();
        if let Some(ban) = ban {
            lifts.push(match ban.until {
                Time::NEVER => String::from("the ban does not end by itself"),
                until => format!("the ban ends in {} s", until.since(now).div_ceil(1_000)),
            });
            lifts.push(String::from("the operator can lift it: unban"));
        }
        let faults = axes.get(Axis::Faults);
        let line = self.policy.fault_line;
        let below = |target: i32| match self.periods_below(i64::from(faults), i64::from(target)) {
            Some(periods) => format!("in {periods} periods"),
            None => String::from("never"),
        };
        if faults >= line && ban.is_some() {
            let left = Score(self.policy.probation());
            lifts.push(format!("after the ban it is on probation with {left} fault points"));
        } else if faults >= line {
            lifts.push(String::from("not banned, since too few peers would be left"));
            lifts.push(format!("the faults decay below the ban line {}", below(line)));
        } else if faults > 0 {
            lifts.push(format!("the faults decay below 1 point {}", below(super::POINT)));
        }
        lifts
    }

    fn periods_below(&self, value: i64, line: i64) -> Option<u32> {
        let mut value = value;
        for periods in 0..LOOK_AHEAD_PERIODS {
            if value < line {
                return Some(periods);
            }
            value = decayed(value, 1, self.policy.decay_factor);
        }
        None
    }
}

fn score_of(thousandths: i64) -> Score {
    Score(i32::try_from(thousandths).unwrap_or(0))
}

fn changes_of(change: &Axes) -> Vec<ChangeLine> {
    let line = |axis: &Axis| {
        let unit = if *axis == Axis::Trust { TRUST_MAX } else { super::POINT };
        ChangeLine { axis: axis.name(), change: f64::from(change.get(*axis)) / f64::from(unit) }
    };
    Axis::ALL.iter().filter(|axis| change.get(**axis) != 0).map(line).collect()
}

impl Explanation {
    /// As lines for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.address.map_or_else(|| String::from("-"), |a| a.to_string());
        writeln!(f, "peer       {}", self.peer)?;
        writeln!(f, "address    {place} ({})", self.connected.unwrap_or("not connected"))?;
        writeln!(f, "standing   {}", self.standing)?;
        writeln!(f, "score      {}", self.score)?;
        if let Some(ban) = &self.ban {
            let ago = self.now.since(ban.since) / 1_000;
            writeln!(f, "banned     {ago} s ago by {}: {}", ban.origin.name(), ban.reason)?;
        }
        writeln!(f, "\n{:<18} {:>9} {:>7} {:>13}", "category", "value", "weight", "contribution")?;
        for line in &self.categories {
            let CategoryLine { name, value, weight, contribution } = line;
            writeln!(f, "{name:<18} {value:>9} {weight:>7.2} {contribution:>13}")?;
        }
        writeln!(f, "{:<18} {:>9}", "service", self.service)?;
        writeln!(f, "{:<18} {:>9} of {}, which bans", "faults", self.faults, self.ban_line)?;
        writeln!(f, "{:<18} {:>9.3}", "trust", self.trust)?;
        writeln!(f, "{:<18} {:>9.3}", "reputation", self.reputation)?;
        writeln!(f, "\nevents, each with the score after it")?;
        writeln!(f, "{:>16} {:>6} {:>9}  {} earlier events", "", "", self.base, self.folded)?;
        for event in &self.events {
            let EventLine { last, count, after, cause, changes, .. } = event;
            let ago = self.now.since(*last) / 1_000;
            write!(f, "{ago:>10} s ago {count:>5}x {after:>9}  {cause}")?;
            for ChangeLine { axis, change } in changes {
                write!(f, " {axis} {change:+.3}")?;
            }
            writeln!(f)?;
        }
        for lift in &self.lifts {
            writeln!(f, "lifts: {lift}")?;
        }
        if self.ban.is_none() {
            for BanCause { fault, events } in self.bans.iter().take(5) {
                writeln!(f, "would ban: {events} x {fault}")?;
            }
        }
        Ok(())
    }
}
