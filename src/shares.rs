//! What each peer may send of a limit on all downloads together.
//!
//! A node that only reads no faster than its limit leaves the rest under way, and a vote waits behind
//! that. So each peer is told a share of its own, and holds back by itself: those that send less than
//! they may get what they send, the others the rest in equal parts (max-min fairness; Bertsekas and
//! Gallager 1992, Data Networks, section 6.5.2). Whoever is quiet may begin with a part of the whole.
//!
//! # Security
//! Provided: a hungry peer takes nothing from those that send less. Memory and work are bounded by the
//! connections.
//! Not provided: votes in time while peers ignore their shares. Those always have more to be read and
//! are read in turn, a twentieth of a second's worth each, and all others wait for that; and where many
//! quiet peers begin at once, as after a block, for what they send until they are told less.

use std::collections::BTreeMap;

use crate::{
    manager::SessionId,
    rate::SLOWEST_BYTES_PER_SECOND,
    time::{Millis, Time},
};

/// Shares are divided anew this often, ms: what a peer that begins sends too much in that time waits
/// in the network. A guess, of a few round trips.
const PERIOD: Millis = 250;
/// A peer is told to send this part less than is read from it. Votes and pings come on top of a
/// sender's pace, and a backlog that is read as slowly as it is fed would never go away: every vote
/// would wait behind it. Little enough that a limit is still used within 5 %.
const HEADROOM_PART: u64 = 64;
/// Whoever has a backlog sends at this part of its share until that is read.
const DRAINING_PART: u64 = 2;
/// Whoever sends less than it was told by more than this part of it wants no more. What it was told
/// is the least of two periods: it hears of more a round trip later.
const CONTENT_PART: u64 = 8;
/// Whoever wants no more may begin with this part of the whole, or with twice what it sends: many may
/// begin at once.
const BEGIN_PART: u64 = 8;
/// Whoever sends less than this part of its share has no backlog, however it came.
const QUIET_PART: u64 = 4;
/// A share that differs by less than this part of what was told is not told.
const SAME_PART: u64 = 64;

/// What a peer is told where so many bytes a second are read.
#[must_use]
pub fn told_of(bytes_per_second: u64) -> u64 {
    bytes_per_second.saturating_sub(bytes_per_second / HEADROOM_PART)
}

/// The shares of all connections.
#[derive(Clone, Debug)]
pub struct Shares {
    total: u64,
    /// The limit for one peer, bytes a second; 0 is none.
    of_one: u64,
    members: BTreeMap<SessionId, Member>,
    divided: Time,
}

#[derive(Clone, Debug)]
struct Member {
    /// Bytes read since the last division.
    read: u64,
    /// Whether everything that had come was read since then.
    dry: bool,
    share: u64,
    told: u64,
    /// What it was told until the last division.
    before: u64,
    /// What it was told before, if it could not be told the last.
    unheard: Option<u64>,
}

impl Shares {
    /// Shares of `total` bytes a second, and of no more than `of_one` each if that is not 0.
    #[must_use]
    pub fn new(now: Time, total: u64, of_one: u64) -> Self {
        Shares { total, of_one, members: BTreeMap::new(), divided: now }
    }

    /// What a connection is told in its greeting, bytes a second, under these limits for all and for
    /// one; 0 is none.
    #[must_use]
    pub fn first(total: u64, of_one: u64) -> u64 {
        let begins = (total / BEGIN_PART).max(total.min(SLOWEST_BYTES_PER_SECOND));
        let least = [begins, of_one].into_iter().filter(|rate| *rate > 0).min();
        told_of(least.unwrap_or(0))
    }

    /// A connection has begun.
    pub fn on_begun(&mut self, session: SessionId) {
        let first = Shares::first(self.total, self.of_one);
        let (share, told, before) = (first, first, first);
        let member = Member { read: 0, dry: false, share, told, before, unheard: None };
        self.members.insert(session, member);
    }

    /// A connection is gone.
    pub fn on_ended(&mut self, session: SessionId) {
        self.members.remove(&session);
    }

    /// So many bytes were read from it.
    pub fn on_read(&mut self, now: Time, session: SessionId, bytes: usize) {
        if now.since(self.divided) > PERIOD.saturating_mul(2) {
            // Nobody has sent anything for a while.
            self.begin_period(now);
        }
        if let Some(member) = self.members.get_mut(&session) {
            member.read = member.read.saturating_add(bytes as u64);
        }
    }

    /// Everything that had come from it was read.
    pub fn on_dry(&mut self, session: SessionId) {
        if let Some(member) = self.members.get_mut(&session) {
            member.dry = true;
        }
    }

    /// When [`Shares::told`] may have news for this connection.
    #[must_use]
    pub fn deadline(&self, session: SessionId) -> Option<Time> {
        let member = self.members.get(&session)?;
        if member.is_news() {
            return Some(self.divided);
        }
        (member.read > 0).then(|| self.divided.plus(PERIOD))
    }

    /// What this connection is to be told now, bytes a second, if that is news.
    pub fn told(&mut self, now: Time, session: SessionId) -> Option<u64> {
        if now.since(self.divided) >= PERIOD {
            self.divide(now);
        }
        let member = self.members.get_mut(&session).filter(|member| member.is_news())?;
        member.told = member.share;
        Some(member.told)
    }

    /// There was no room to tell it that: it is tried again with the next division.
    pub fn on_unheard(&mut self, session: SessionId) {
        if let Some(member) = self.members.get_mut(&session) {
            member.unheard = Some(member.before);
        }
    }

    fn divide(&mut self, now: Time) {
        let span = now.since(self.divided).max(1);
        for member in self.members.values_mut() {
            member.told = member.unheard.take().unwrap_or(member.told);
        }
        let level = self.level(span);
        let (whole, of_one, begins) = (self.told_at(level), self.of_one, self.total / BEGIN_PART);
        for member in self.members.values_mut() {
            let share = if member.is_behind(span) {
                whole / DRAINING_PART
            } else if member.is_hungry(span) {
                whole
            } else {
                let begins = told_of(begins.max(member.speed(span).saturating_mul(2)));
                whole.min(begins)
            };
            // Nobody sends less, whatever it is told.
            let least = if of_one == 0 { u64::MAX } else { told_of(of_one) };
            member.share = share.max(SLOWEST_BYTES_PER_SECOND.min(least));
            member.before = member.told;
        }
        self.begin_period(now);
    }

    /// What everybody may have who wants as much.
    fn level(&self, span: Millis) -> u64 {
        let wanted = |member: &Member| match member.speed(span) {
            _ if member.is_hungry(span) => self.total,
            speed => speed,
        };
        let mut wishes: Vec<u64> = self.members.values().map(wanted).collect();
        wishes.sort_unstable();
        let (mut left, mut count) = (self.total, wishes.len() as u64);
        for wish in wishes {
            let part = left.checked_div(count).unwrap_or(left);
            // The last one may have what is left, as anybody may who begins.
            if wish > part || count == 1 {
                return part;
            }
            (left, count) = (left.saturating_sub(wish), count.saturating_sub(1));
        }
        left
    }

    fn told_at(&self, level: u64) -> u64 {
        let limit = if self.of_one == 0 { level } else { level.min(self.of_one) };
        told_of(limit)
    }

    fn begin_period(&mut self, now: Time) {
        self.divided = now;
        for member in self.members.values_mut() {
            (member.read, member.dry) = (0, false);
        }
    }
}

impl Member {
    /// Bytes a second.
    fn speed(&self, span: Millis) -> u64 {
        self.read.saturating_mul(1_000).checked_div(span).unwrap_or(0)
    }

    /// Whether more waits in the network than was read: there was always more.
    fn is_behind(&self, span: Millis) -> bool {
        !self.dry && self.speed(span) > self.told / QUIET_PART
    }

    /// Whether it would send more if it might.
    fn is_hungry(&self, span: Millis) -> bool {
        let told = self.told.min(self.before);
        self.is_behind(span) || self.speed(span) >= told.saturating_sub(told / CONTENT_PART)
    }

    fn is_news(&self) -> bool {
        self.share.abs_diff(self.told) > self.told / SAME_PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 1_000_000;

    /// Connections that send so many bytes a second each if they may, through a network that keeps
    /// what is not read yet.
    struct Scene {
        shares: Shares,
        wishes: Vec<u64>,
        waiting: Vec<u64>,
        told: Vec<u64>,
        /// What was told and is not heard yet: when it is, by whom, what.
        under_way: Vec<(Time, usize, u64)>,
        round_trip: Millis,
        now: Time,
    }

    impl Scene {
        fn new(wishes: &[u64], of_one: u64, round_trip: Millis) -> Self {
            let mut shares = Shares::new(Time(0), TOTAL, of_one);
            (0..wishes.len()).for_each(|peer| shares.on_begun(SessionId(peer as u64)));
            let told = vec![Shares::first(TOTAL, of_one); wishes.len()];
            let (waiting, wishes) = (vec![0; wishes.len()], wishes.to_vec());
            let (under_way, now) = (Vec::new(), Time(0));
            Scene { shares, wishes, waiting, told, under_way, round_trip, now }
        }

        /// Ten milliseconds at a time; what was read of each, bytes.
        fn pass(&mut self, span: Millis) -> Vec<u64> {
            let mut read = vec![0; self.wishes.len()];
            for _ in 0..span / 10 {
                self.now = self.now.plus(10);
                let mut budget = TOTAL / 100;
                for (peer, waiting) in self.waiting.iter_mut().enumerate() {
                    *waiting += self.wishes[peer].min(self.told[peer]) / 100;
                }
                // Everybody has its turn, a little at a time, until nothing is left to read or to
                // be read with.
                let peers = self.wishes.len();
                for turn in 0..peers * 100 {
                    let (peer, session) = (turn % peers, SessionId((turn % peers) as u64));
                    let bytes = self.waiting[peer].min(budget).min(TOTAL / 10_000);
                    (budget, self.waiting[peer]) = (budget - bytes, self.waiting[peer] - bytes);
                    read[peer] += bytes;
                    self.shares.on_read(self.now, session, bytes as usize);
                    if self.waiting[peer] == 0 && budget > 0 {
                        self.shares.on_dry(session);
                    }
                }
                for peer in 0..peers {
                    let session = SessionId(peer as u64);
                    if self.shares.deadline(session).is_some_and(|at| at <= self.now)
                        && let Some(told) = self.shares.told(self.now, session)
                    {
                        self.under_way.push((self.now.plus(self.round_trip), peer, told));
                    }
                }
                let (now, told) = (self.now, &mut self.told);
                self.under_way.retain(|(at, peer, new)| {
                    if *at <= now {
                        told[*peer] = *new;
                    }
                    *at > now
                });
            }
            read
        }
    }

    #[test]
    fn all_that_want_more_get_as_much_and_nothing_waits() {
        for (peers, round_trip) in [(2, 0), (4, 0), (2, 80), (4, 150), (4, 300), (10, 150)] {
            let mut scene = Scene::new(&vec![u64::MAX; peers], 0, round_trip);
            scene.pass(20_000);
            assert!(scene.waiting.iter().all(|waiting| *waiting < 5_000), "{:?}", scene.waiting);
            let part = 10 * TOTAL / peers as u64;
            for read in scene.pass(10_000) {
                assert!((part * 95 / 100..=part).contains(&read), "{read} at {round_trip} ms");
            }
        }
    }

    #[test]
    fn whoever_wants_less_leaves_the_rest_to_others() {
        let mut scene = Scene::new(&[100_000, u64::MAX, 50_000, u64::MAX], 0, 100);
        scene.pass(10_000);
        let read = scene.pass(10_000);
        assert!((990_000..=1_010_000).contains(&read[0]), "{read:?}");
        assert!((490_000..=510_000).contains(&read[2]), "{read:?}");
        for hungry in [1, 3] {
            assert!((4_000_000..=4_350_000).contains(&read[hungry]), "{read:?}");
        }
    }

    #[test]
    fn whoever_is_left_alone_gets_all_of_it() {
        let mut scene = Scene::new(&[u64::MAX; 4], 0, 100);
        scene.pass(5_000);
        scene.wishes = vec![0, 0, 0, u64::MAX];
        scene.pass(2_000);
        assert!(scene.pass(10_000)[3] >= 9_500_000);
    }

    /// As after a block: each may begin with an eighth of the whole, until it is told less.
    #[test]
    fn many_that_begin_at_once_leave_little_behind() {
        let mut scene = Scene::new(&[0; 20], 0, 100);
        scene.pass(5_000);
        scene.wishes = vec![u64::MAX; 20];
        scene.pass(1_000);
        let most: u64 = scene.waiting.iter().sum();
        assert!(most < 2 * TOTAL, "{most}");
        scene.pass(15_000);
        assert!(scene.waiting.iter().sum::<u64>() < TOTAL / 10, "{:?}", scene.waiting);
    }

    #[test]
    fn a_limit_for_one_peer_holds_too() {
        let mut scene = Scene::new(&[u64::MAX, u64::MAX], 100_000, 0);
        assert_eq!(scene.told, [told_of(100_000); 2]);
        scene.pass(5_000);
        assert_eq!(scene.told, [told_of(100_000); 2], "and is no news");
    }

    #[test]
    fn silence_is_no_news() {
        let mut scene = Scene::new(&[0; 3], 0, 0);
        scene.pass(60_000);
        assert_eq!(scene.told, [told_of(TOTAL / BEGIN_PART); 3]);
        assert_eq!(scene.shares.deadline(SessionId(0)), None);
    }

    #[test]
    fn what_could_not_be_told_is_told_with_the_next_division() {
        let (mut shares, one) = (Shares::new(Time(0), TOTAL, 0), SessionId(1));
        shares.on_begun(one);
        let reads = |shares: &mut Shares, now: u64| {
            shares.on_read(Time(now), one, 50_000);
            shares.on_dry(one);
        };
        reads(&mut shares, 200);
        let told = shares.told(Time(250), one).unwrap();
        shares.on_unheard(one);
        assert_eq!(shares.told(Time(260), one), None, "not at once");
        reads(&mut shares, 450);
        assert_eq!(shares.told(Time(500), one), Some(told));
        reads(&mut shares, 700);
        assert_eq!(shares.told(Time(750), one), None);
    }

    #[test]
    fn many_are_told_what_each_may_choose_at_least() {
        let mut scene = Scene::new(&[u64::MAX; 100], 0, 0);
        scene.pass(10_000);
        assert!(scene.told.iter().all(|told| *told == SLOWEST_BYTES_PER_SECOND));
        (0..100).for_each(|peer| scene.shares.on_ended(SessionId(peer)));
        assert!(scene.shares.members.is_empty());
    }
}
