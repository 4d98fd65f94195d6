//! Names of the configuration: looked up until they resolve, and again and again after that.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use actix::Recipient;
use peerstage_core::{address::Host, config::PeerAddress};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::manager::{Connect, Named};

/// How long a name that did not resolve waits for the next try; a quarter more or less at random, so
/// that a fleet which starts together doesn't ask together.
const RETRY: Duration = Duration::from_secs(10);
/// How often a name is looked up that did: the usual life of a record in DNS. Whose provider gives it
/// another address each day is found again by its name.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Addresses that one name has led to and that are remembered.
const TOLD_MAX: usize = 64;

/// The addresses behind a name, by the system's resolver.
pub(super) async fn look_up(host: String, port: u16) -> io::Result<BTreeSet<IpAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

/// A name, and where it leads.
pub(super) struct Name {
    target: PeerAddress,
    named: Named,
    manager: Recipient<Connect>,
    rng: ChaCha8Rng,
    /// Where it has led so far.
    told: BTreeSet<IpAddr>,
}

impl Name {
    pub(super) fn new(
        target: PeerAddress,
        named: Named,
        manager: Recipient<Connect>,
        rng: ChaCha8Rng,
    ) -> Self {
        Name { target, named, manager, rng, told: BTreeSet::new() }
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

    async fn tell(&mut self, found: &BTreeSet<IpAddr>) {
        let gone: Vec<IpAddr> = self.told.difference(found).copied().collect();
        let leads = found.iter().map(|ip| (*ip, self.named));
        // Told again each time: a connected node stays where it was until it is gone.
        for (ip, named) in leads.chain(gone.into_iter().map(|ip| (ip, Named::Moved))) {
            let target = PeerAddress { host: Host::Ip(ip), ..self.target.clone() };
            let _ = self.manager.send(Connect { target, named }).await;
            if self.told.len() < TOLD_MAX {
                self.told.insert(ip);
            }
        }
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

    /// Writes down what it is told.
    #[derive(Default)]
    struct Ears(Rc<RefCell<Vec<(String, Named)>>>);

    impl Actor for Ears {
        type Context = Context<Self>;
    }

    impl Handler<Connect> for Ears {
        type Result = ();

        fn handle(&mut self, order: Connect, _: &mut Context<Self>) {
            self.0.borrow_mut().push((order.target.host.to_string(), order.named));
        }
    }

    /// A name that moves is followed, and what it led to is given up.
    #[test]
    fn a_name_is_followed_where_it_leads() {
        actix_rt::System::new().block_on(async {
            tokio::time::pause();
            let heard = Rc::<RefCell<Vec<_>>>::default();
            let ears = Ears(heard.clone()).start();
            let target: PeerAddress = "seed.example:30400".parse().unwrap();
            let rng = ChaCha8Rng::seed_from_u64(1);
            let name = Name::new(target, Named::Persistent, ears.recipient(), rng);
            let asked = Rc::new(Cell::new(0));
            let count = asked.clone();
            let answers = move |host: String, port| {
                assert_eq!((host.as_str(), port), ("seed.example", 30_400));
                count.set(count.get() + 1);
                let place: &[&str] = match count.get() {
                    1 => return std::future::ready(Err(io::Error::other("no such name"))),
                    2 => &[],
                    3 | 4 => &["66.1.1.1", "66.1.1.2"],
                    _ => &["66.1.1.2", "66.9.9.9"],
                };
                std::future::ready(Ok(place.iter().map(|ip| ip.parse().unwrap()).collect()))
            };
            let task = actix_rt::spawn(name.follow(answers));
            let since = tokio::time::Instant::now();
            while asked.get() < 6 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let seconds = since.elapsed().as_secs();
            assert!((690..=1_150).contains(&seconds), "two tries and three pauses: {seconds} s");
            task.abort();
            let (here, moved) = (Named::Persistent, Named::Moved);
            let told: Vec<(String, Named)> = heard.take();
            let told: Vec<(&str, Named)> = told.iter().map(|(ip, n)| (ip.as_str(), *n)).collect();
            let first = [("66.1.1.1", here), ("66.1.1.2", here)];
            let later = [("66.1.1.2", here), ("66.9.9.9", here), ("66.1.1.1", moved)];
            assert_eq!(told, [&first[..], &first, &later, &later].concat());
        });
    }
}
