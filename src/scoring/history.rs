//! What happened to a peer's score, in order, from which the score follows exactly.

use std::{collections::VecDeque, fmt};

use serde::{Deserialize, Serialize};

use super::{
    facts::{Delivery, Fault, Service},
    score::Axes,
};
use crate::{identity::NodeId, time::Time};

/// Why a score changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A round trip was measured.
    RoundTrip,
    /// Minutes connected.
    Connected,
    /// The peer ended a connection that had hardly begun.
    ShortSession,
    /// A block came.
    Block(Delivery),
    /// A transaction came.
    Transaction(Delivery),
    /// A request went well or badly.
    Service(Service),
    /// A breach of the protocol.
    Fault(Fault),
    /// A breach of a rule on trial: counted, not applied.
    Shadow(Fault),
    /// The peer proved to speak for a validator.
    ValidatorProven,
    /// It no longer does.
    ValidatorLost,
    /// The chain software was content; its reason.
    ReportGood(String),
    /// The chain software was not content; its reason.
    ReportBad(String),
    /// The chain software saw a fault; its reason.
    ReportFault(String),
    /// Another peer recommended it.
    Recommended(NodeId),
    /// A period went by.
    Decay,
    /// An interval of trust went by.
    TrustDecay,
    /// Banned; the reason.
    Banned(String),
    /// Would be banned, but too few peers would be left.
    BanWithheld,
    /// A ban ended by itself.
    BanServed,
    /// The operator lifted a ban.
    Unbanned,
}

/// One line of a history: the same cause, once or many times in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened first.
    pub at: Time,
    /// When it happened last.
    pub last: Time,
    /// How often.
    pub count: u32,
    /// Why.
    pub cause: Cause,
    /// What it really moved, limits applied.
    pub change: Axes,
}

/// The events of one peer: a starting point and what was added to it.
///
/// Events are additive (their changes have the limits applied already), so summing them up
/// from the base gives the state, whatever was folded into the base or counted in one line.
/// Routine events of one cause share a line until something notable happens, so a notable event
/// finds exactly the state it found then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    base: Axes,
    folded: u64,
    events: VecDeque<Event>,
}

/// What a line takes, so that the bound on histories is known: 4096 peers x 100 lines = 40 MB.
const _: () = assert!(size_of::<Event>() <= 96);

/// The longest reason kept, bytes; the rest is cut off.
pub const REASON_MAX: usize = 120;

impl Cause {
    /// Whether it happens all the time and may share a line and be left out of the event stream.
    #[must_use]
    pub const fn is_routine(&self) -> bool {
        matches!(
            self,
            Cause::RoundTrip
                | Cause::Connected
                | Cause::Block(_)
                | Cause::Transaction(_)
                | Cause::Service(_)
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::RoundTrip => f.write_str("round_trip"),
            Cause::Connected => f.write_str("connected"),
            Cause::ShortSession => f.write_str("short_session"),
            Cause::Block(delivery) => write!(f, "block_{}", delivery.name()),
            Cause::Transaction(delivery) => write!(f, "transaction_{}", delivery.name()),
            Cause::Service(service) => f.write_str(service.name()),
            Cause::Fault(fault) => f.write_str(fault.name()),
            Cause::Shadow(fault) => write!(f, "{fault} (on trial, not applied)"),
            Cause::ValidatorProven => f.write_str("validator_proven"),
            Cause::ValidatorLost => f.write_str("validator_lost"),
            Cause::ReportGood(reason) => write!(f, "report_good: {reason}"),
            Cause::ReportBad(reason) => write!(f, "report_bad: {reason}"),
            Cause::ReportFault(reason) => write!(f, "report_fault: {reason}"),
            Cause::Recommended(by) => write!(f, "recommended by {}", by.short()),
            Cause::Decay => f.write_str("decay"),
            Cause::TrustDecay => f.write_str("trust_decay"),
            Cause::Banned(reason) => write!(f, "banned: {reason}"),
            Cause::BanWithheld => f.write_str("ban_withheld: too few peers would be left"),
            Cause::BanServed => f.write_str("ban_served"),
            Cause::Unbanned => f.write_str("unbanned"),
        }
    }
}

impl History {
    /// A history that starts at this state.
    #[must_use]
    pub fn starting_at(base: Axes) -> Self {
        History { base, folded: 0, events: VecDeque::new() }
    }

    /// Adds what happened so many `times`, moving `change` in all, and keeps at most `limit`
    /// lines.
    pub(super) fn record(
        &mut self,
        now: Time,
        cause: Cause,
        change: Axes,
        times: u32,
        limit: usize,
    ) {
        match self.line_to_share(&cause) {
            Some(event) => {
                event.last = event.last.max(now);
                event.count = event.count.saturating_add(times);
                event.change = event.change.plus(&change);
            }
            None => {
                self.events.push_back(Event { at: now, last: now, count: times, cause, change });
            }
        }
        while self.events.len() > limit {
            self.fold_oldest();
        }
    }

    /// The line that this cause may be counted on: the last one, or for a routine cause any
    /// since the last notable event. There are fewer than 16 routine causes, so this is short.
    fn line_to_share(&mut self, cause: &Cause) -> Option<&mut Event> {
        let shared = |event: &Event| event.cause == *cause && event.change.is_moderate();
        if !cause.is_routine() {
            return self.events.back_mut().filter(|event| shared(event));
        }
        let mut recent = self.events.iter_mut().rev().take_while(|e| e.cause.is_routine());
        recent.find(|event| shared(event))
    }

    fn fold_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.base = self.base.plus(&event.change);
            self.folded = self.folded.saturating_add(u64::from(event.count));
        }
    }

    /// The state before the first event that is still listed.
    #[must_use]
    pub fn base(&self) -> &Axes {
        &self.base
    }

    /// How many events are summed up in the base.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Every event with the state right after it, recomputed from the base.
    pub fn replay(&self) -> impl Iterator<Item = (&Event, Axes)> {
        self.events.iter().scan(self.base, |state, event| {
            *state = state.plus(&event.change);
            Some((event, *state))
        })
    }

    /// The state after the last event, recomputed from the base.
    #[must_use]
    pub fn outcome(&self) -> Axes {
        self.replay().last().map_or(self.base, |(_, state)| state)
    }

    /// A history read back from a store: cut to `limit` lines, and started afresh where its
    /// numbers could not have come about.
    pub(super) fn restored(mut self, limit: usize) -> Self {
        while self.events.len() > limit {
            self.fold_oldest();
        }
        let outcome = self.outcome();
        let moderate = self.base.is_moderate()
            && self
                .replay()
                .all(|(event, state)| event.change.is_moderate() && state.is_moderate());
        if moderate && outcome.is_within_limits() {
            self
        } else {
            History::starting_at(outcome.clamped())
        }
    }
}

/// A reason fit for logs and stores: one line of printable text, at most [`REASON_MAX`] bytes.
#[must_use]
pub(super) fn tidy_reason(reason: &str) -> String {
    let mut tidy = String::with_capacity(reason.len().min(REASON_MAX));
    for c in reason.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if tidy.len() + c.len_utf8() > REASON_MAX {
            break;
        }
        tidy.push(c);
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::score::Axis;

    fn change(axis: Axis, by: i64) -> Axes {
        let mut axes = Axes::default();
        axes.add(axis, by);
        axes
    }

    #[test]
    fn routine_events_share_a_line_until_something_notable_happens() {
        let mut history = History::default();
        for second in 0..10 {
            history.record(Time(second), Cause::RoundTrip, change(Axis::Latency, 5), 1, 100);
            history.record(Time(second), Cause::Connected, change(Axis::Uptime, 3), 1, 100);
        }
        assert_eq!(history.events().count(), 2);
        history.record(Time(11), Cause::Decay, change(Axis::Latency, -1), 1, 100);
        history.record(Time(12), Cause::RoundTrip, change(Axis::Latency, 5), 1, 100);
        assert_eq!(history.events().count(), 4);
        assert_eq!(history.outcome().get(Axis::Latency), 54);
        assert_eq!(history.outcome().get(Axis::Uptime), 30);
    }

    #[test]
    fn folding_the_oldest_changes_no_outcome() {
        let mut history = History::default();
        for n in 0..50 {
            let cause = Cause::ReportGood(n.to_string());
            history.record(Time(n), cause, change(Axis::Behaviour, 7), 1, 4);
        }
        assert_eq!(history.events().count(), 4);
        assert_eq!(history.folded(), 46);
        assert_eq!(history.outcome().get(Axis::Behaviour), 350);
    }

    /// Attack row 46: a reason is one printable line.
    #[test]
    fn reasons_are_cut_and_cleaned() {
        assert_eq!(tidy_reason("a\n\u{1b}[2Jb"), "a  [2Jb");
        assert!(tidy_reason(&"ä".repeat(500)).len() <= REASON_MAX);
    }
}
