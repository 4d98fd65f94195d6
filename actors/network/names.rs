//! Names of the configuration: looked up until they resolve, and again and again after that.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use actix::Recipient;
use peerstage_core::{address::Host, config::PeerAddress, manager::NameId};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::manager::{Connect, Named};

/// How long a name that did not resolve waits for the next try; a quarter more or less at random, so
/// that a fleet which starts together doesn't ask together.
const RETRY: Duration = Duration::from_secs(10);
/// How often a name is looked up that did: the usual life of a record in DNS. Whose provider gives it
/// another address each day is found again by its name.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Addresses of one name that are dialled: those that it leads to now, and where its nodes are still
/// connected. A name that leads to more leads to a few of them; there are 256 places for all.
const TOLD_MAX: usize = 16;

/// The addresses behind a name, by the system's resolver.
pub(super) async fn look_up(host: String, port: u16) -> io::Result<BTreeSet<IpAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

/// A name, and where it leads.
pub(super) struct Name {
    target: PeerAddress,
    /// Which one it is, and whether it names a persistent peer.
    name: (NameId, bool),
    manager: Recipient<Connect>,
    rng: ChaCha8Rng,
    /// What the manager dials for it.
    told: BTreeSet<IpAddr>,
}

impl Name {
    pub(super) fn new(
        target: PeerAddress,
        name: (NameId, bool),
        manager: Recipient<Connect>,
        rng: ChaCha8Rng,
    ) -> Self {
        Name { target, name, manager, rng, told: BTreeSet::new() }
    }

    /// Looks it up for ever, and tells the manager where it leads and where no longer.
    pub(super) async fn follow<F: Future<Output = io::Result<BTreeSet<IpAddr>>>>(
        mut self,
        look_up: impl Fn(String, u16) -> F,
    ) {
        loop {
            let wait = match look_up(self.target.host.to_string(), self.target.port).await {
                Ok(found) if found.is_empty() => RETRY,
                Ok(found) => {
                    self.tell(&found).await;
                    AGAIN
                }
                Err(error) => {
                    let target = &self.target;
                    tracing::warn!(%target, %error, "host name does not resolve; will retry");
                    RETRY
                }
            };
            tokio::time::sleep(wait.mul_f64(self.rng.random_range(0.75..1.25))).await;
        }
    }

    /// What it led to gives way first.
    async fn tell(&mut self, found: &BTreeSet<IpAddr>) {
        let (name, persistent) = self.name;
        let leads = if persistent { Named::Persistent(name) } else { Named::Bootstrap(name) };
        let gone: Vec<IpAddr> = self.told.difference(found).copied().collect();
        for ip in gone {
            // A node that is connected there stays, until it is gone.
            if !self.send(ip, Named::Moved(name)).await {
                self.told.remove(&ip);
            }
        }
        let new: Vec<IpAddr> = found.difference(&self.told).copied().collect();
        let room = TOLD_MAX.saturating_sub(self.told.len());
        if new.len() > room {
            let (target, left_out) = (&self.target, new.len().saturating_sub(room));
            tracing::warn!(%target, left_out, "the name leads to more addresses than are dialled");
        }
        for ip in new.into_iter().take(room) {
            if self.send(ip, leads).await {
                self.told.insert(ip);
            }
        }
    }

    async fn send(&self, ip: IpAddr, named: Named) -> bool {
        let target = PeerAddress { host: Host::Ip(ip), ..self.target.clone() };
        self.manager.send(Connect { target, named }).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
    };

    use actix::{Actor, Context, Handler};
    use rand::SeedableRng;

    use super::*;

    /// Writes down what it is told, and keeps what is connected.
    #[derive(Default)]
    struct Ears {
        heard: Rc<RefCell<Vec<(String, Named)>>>,
        connected: Option<&'static str>,
    }

    impl Actor for Ears {
        type Context = Context<Self>;
    }

    impl Handler<Connect> for Ears {
        type Result = bool;

        fn handle(&mut self, order: Connect, _: &mut Context<Self>) -> bool {
            let host = order.target.host.to_string();
            let stays = self.connected == Some(host.as_str());
            self.heard.borrow_mut().push((host, order.named));
            stays || !matches!(order.named, Named::Moved(_))
        }
    }

    /// What the manager hears of a name that leads to these places, look-up by look-up, and for how
    /// long it was followed, s.
    fn followed(
        connected: Option<&'static str>,
        places: impl Fn(usize) -> io::Result<Vec<String>> + 'static,
        times: usize,
    ) -> (Vec<(String, Named)>, u64) {
        actix_rt::System::new().block_on(async {
            tokio::time::pause();
            let heard = Rc::<RefCell<Vec<_>>>::default();
            let ears = Ears { heard: heard.clone(), connected }.start();
            let target: PeerAddress = "seed.example:30400".parse().unwrap();
            let rng = ChaCha8Rng::seed_from_u64(1);
            let name = Name::new(target, (NameId(7), true), ears.recipient(), rng);
            let asked = Rc::new(Cell::new(0));
            let count = asked.clone();
            let answers = move |host: String, port| {
                assert_eq!((host.as_str(), port), ("seed.example", 30_400));
                count.set(count.get() + 1);
                let found = places(count.get());
                let found = found.map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect());
                std::future::ready(found)
            };
            let task = actix_rt::spawn(name.follow(answers));
            let mut seconds = 0;
            while asked.get() < times {
                tokio::time::sleep(Duration::from_secs(1)).await;
                seconds += 1;
            }
            task.abort();
            (heard.take(), seconds)
        })
    }

    /// A name that moves is followed, and what it led to is given up; where a node is connected that
    /// is asked for again each time.
    #[test]
    fn a_name_is_followed_where_it_leads() {
        let ips = |ips: &[&str]| Ok(ips.iter().map(|ip| (*ip).to_owned()).collect());
        let places = move |number| match number {
            1 => Err(io::Error::other("no such name")),
            2 => ips(&[]),
            3 | 4 => ips(&["66.1.1.1", "66.1.1.2"]),
            _ => ips(&["66.1.1.2", "66.9.9.9"]),
        };
        let (here, moved) = (Named::Persistent(NameId(7)), Named::Moved(NameId(7)));
        for connected in [None, Some("66.1.1.1")] {
            let (told, seconds) = followed(connected, places, 6);
            let told: Vec<(&str, Named)> = told.iter().map(|(ip, n)| (ip.as_str(), *n)).collect();
            let mut wanted = vec![("66.1.1.1", here), ("66.1.1.2", here), ("66.1.1.1", moved)];
            wanted.push(("66.9.9.9", here));
            wanted.extend(connected.map(|ip| (ip, moved)));
            assert_eq!(told, wanted);
            assert!((690..=1_150).contains(&seconds), "two tries and three pauses: {seconds} s");
        }
    }

    /// Whoever answers for a name fills no list by naming other places each time.
    #[test]
    fn a_name_that_leads_everywhere_has_few_places() {
        let places = |number| Ok((0..25).map(|ip| format!("66.{number}.1.{ip}")).collect());
        let (told, _) = followed(None, places, 20);
        let mut dialled = BTreeSet::new();
        for (ip, named) in told {
            match named {
                Named::Moved(_) => assert!(dialled.remove(&ip), "{ip} was not dialled"),
                _ => assert!(dialled.insert(ip)),
            }
            assert!(dialled.len() <= TOLD_MAX);
        }
        assert_eq!(dialled.len(), TOLD_MAX);
    }
}
