//! The first peers: asking the seeds, and telling the operator when nobody answers.

use peerstage_core::{
    address::{Address, Host, TransportKind},
    bootstrap::{BootstrapAction, TARGETS_MAX},
    config::PeerAddress,
    identity::NodeId,
    time::{Millis, Time},
};

use super::{Discovery, SeedAnswers, ToDiscovery};
use crate::{
    events::{Event, What},
    manager::{Connect, Named},
    shell::tell,
};

impl Discovery {
    /// How many peers there are has changed.
    pub(super) fn count_peers(&mut self, now: Time) {
        let peers = self.ways.values().filter(|way| !way.contact.visit).count();
        self.first.on_peers(now, peers);
    }

    pub(super) fn find_first(&mut self, now: Time) {
        let mut orders = Vec::new();
        self.first.on_deadline(now, &mut orders);
        for order in orders {
            match order {
                BootstrapAction::AskSeeds => self.ask_seeds(),
                BootstrapAction::Alarm(alone) => self.alarm(alone),
            }
        }
    }

    fn ask_seeds(&mut self) {
        // A round that is slower than the interval is let finish.
        if self.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            return;
        }
        let (seeds, answers) = (self.seeds.clone(), self.queue.clone());
        metrics::counter!("peerstage_dns_rounds_total").increment(1);
        let asking = actix_rt::spawn(async move {
            let found = seeds.ask().await;
            let _ = answers.push(ToDiscovery::Seeds(Box::new(found)));
        });
        self.asking = Some(asking.abort_handle());
    }

    pub(super) fn on_seeds(&mut self, answers: SeedAnswers) {
        let SeedAnswers { texts, addresses, failures } = answers;
        let signed = self.first.targets(&texts, &self.own.network, self.own.id());
        tracing::debug!(
            records = signed.len(),
            addresses = addresses.len(),
            failures = failures.len(),
            "the DNS seeds were asked"
        );
        self.seed_failures = failures;
        // Whoever writes the zone must not aim this node at its own machine or network.
        let private = self.seeds.allow_private;
        let fits = move |address: &Address| private || address.is_routable();
        for target in signed.into_iter().filter(|target| fits(&target.address)) {
            self.dial_first(target.expected, target.address, Some(target.address.transport()));
        }
        for address in addresses.into_iter().filter(fits).take(TARGETS_MAX) {
            self.dial_first(None, address, None);
        }
    }

    /// Without a transport: over whichever of ours somebody answers.
    pub(super) fn dial_first(
        &self,
        id: Option<NodeId>,
        address: Address,
        transport: Option<TransportKind>,
    ) {
        if !address.is_dialable() {
            return;
        }
        let (host, port) = (Host::Ip(address.ip()), address.port());
        let target = PeerAddress { id, host, port, transport };
        tell("connect", &self.links.connect, Connect { target, named: Named::Found });
    }

    fn alarm(&self, alone: Millis) {
        let dns = match self.seed_failures.as_slice() {
            [] => String::new(),
            failures => format!("; DNS: {}", failures.join("; ")),
        };
        let text = format!(
            "no peer for {} s: none of {} answers{dns}. Check the network, the names and ports, \
             and that they belong to this network; it is tried again for ever",
            alone / 1000,
            self.named,
        );
        let what = What::Alarm { name: "bootstrap", text };
        tell("event", &self.links.events, Event { at: self.clock.now(), what });
    }
}
