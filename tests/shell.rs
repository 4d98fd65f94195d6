//! The shell on the real runtime: a flood delays no timer, the flooded actor's or a neighbour's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

#[path = "shell/handlers.rs"]
mod handlers;
#[path = "shell/panics.rs"]
mod panics;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Context, Handler, Message};
use actix_rt::{Arbiter, System};
use peerstage::{
    Network,
    clock::Clock,
    core::time::Time,
    shell::{Shell, Timer, step},
    transport::sim::{SimConfig, SimNetwork},
};

/// Senders that flood one actor at once.
const SENDERS: usize = 512;
/// Time between two ticks, ms: far more than a loaded machine delays a thread, far less than an
/// actor without a budget is held up (measured: 21 s).
const PERIOD_MS: u64 = 50;
/// Ticks of the idle actor after which the three are compared.
const TICKS: u64 = 60;

/// An actor that ticks at a fixed pace; ticks that come too late to be told apart are one.
struct Ticker {
    next: Time,
    ticks: Arc<AtomicU64>,
    timer: Timer,
    clock: Clock,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Work;

impl Ticker {
    fn start_on(arbiter: &Arbiter, clock: &Clock) -> (actix::Addr<Ticker>, Arc<AtomicU64>) {
        let ticks = Arc::new(AtomicU64::new(0));
        let (clock, counted) = (clock.clone(), Arc::clone(&ticks));
        let ticker = Ticker::start_in_arbiter(&arbiter.handle(), move |_| Ticker {
            next: clock.now().plus(PERIOD_MS),
            ticks: counted,
            timer: Timer::default(),
            clock,
        });
        (ticker, ticks)
    }
}

impl Actor for Ticker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        step(self, ctx, |_, _, _| ());
    }
}

impl Shell for Ticker {
    type Action = ();

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }

    fn on_deadline(&mut self, now: Time, _: &mut Vec<()>) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        while self.next <= now {
            self.next = self.next.plus(PERIOD_MS);
        }
    }

    fn perform(&mut self, (): (), _: &mut Context<Self>) {}
}

impl Handler<Work> for Ticker {
    type Result = ();

    fn handle(&mut self, Work: Work, ctx: &mut Context<Self>) {
        step(self, ctx, |_, _, _| {
            // About 20 microseconds of work.
            std::hint::black_box((0..20_000u64).fold(0u64, |sum, n| sum ^ n.wrapping_mul(sum | 1)));
        });
    }
}

/// 512 senders flood one actor. It and its neighbour on the same thread keep 95 % of the ticks
/// of an actor that has a thread to itself.
#[test]
fn a_flood_from_512_senders_keeps_timers_running() {
    System::new().block_on(async {
        let clock = Clock::system();
        let (busy, idle, senders) = (Arbiter::new(), Arbiter::new(), Arbiter::new());
        let (flooded, of_flooded) = Ticker::start_on(&busy, &clock);
        let (_neighbour, of_neighbour) = Ticker::start_on(&busy, &clock);
        let (_control, of_control) = Ticker::start_on(&idle, &clock);
        let (stop, handled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for _ in 0..SENDERS {
            let (flooded, stop, handled) =
                (flooded.clone(), Arc::clone(&stop), Arc::clone(&handled));
            senders.spawn(async move {
                while !stop.load(Ordering::Relaxed) && flooded.send(Work).await.is_ok() {
                    handled.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut look = tokio::time::interval(Duration::from_millis(PERIOD_MS));
        while of_control.load(Ordering::Relaxed) < TICKS {
            look.tick().await;
        }
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (control, flooded, neighbour) =
            (count(&of_control), count(&of_flooded), count(&of_neighbour));
        stop.store(true, Ordering::Relaxed);
        let handled = handled.load(Ordering::Relaxed);
        assert!(handled > 10_000, "{handled} messages are no flood");
        assert!(flooded * 100 >= control * 95, "{flooded} of {control} ticks, {handled} messages");
        assert!(neighbour * 100 >= control * 95, "{neighbour} of {control}, {handled} messages");
        assert!([busy, idle, senders].iter().all(Arbiter::stop));
    });
}

/// A panic in a core actor is told to the node's hook by the actor's name.
#[test]
fn a_panic_in_a_core_actor_is_fatal_by_name() {
    let _alone = panics::ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let actors = [
        "relay",
        "requests",
        "manager",
        "discovery",
        "scoring",
        "store",
        "blockchain",
        "consensus",
        "monitoring",
        "nat",
        "circuits",
    ];
    for actor in actors {
        peerstage::testkit::run_virtual(1, |seed| async move {
            let network = SimNetwork::new(seed, SimConfig::default());
            let (told, mut hears) = tokio::sync::mpsc::channel(8);
            let node = Network::builder("shell")
                .listen("33.1.1.1:30400")
                .transport(Arc::new(network.host(IpAddr::from([33, 1, 1, 1]))))
                .simulated(Clock::simulated(1_800_000_000_000), [1; 32])
                .on_fatal(move |actor| told.try_send(actor).expect("one death"))
                .start_here()
                .await
                .expect("it starts");
            assert!(node.panic_in(actor));
            assert_eq!(hears.recv().await, Some(actor));
        });
    }
}

/// Counts what reaches it, once it is let.
struct Idle(Arc<AtomicU64>);

impl Actor for Idle {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4);
    }
}

impl Handler<Work> for Idle {
    type Result = ();

    fn handle(&mut self, _: Work, _: &mut Context<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why bulk never goes through a mailbox (ADR 0004): its capacity holds for each clone of the
/// address by itself.
#[test]
fn a_mailbox_is_no_bound() {
    System::new().block_on(async {
        let handled = Arc::new(AtomicU64::new(0));
        let idle = Idle(Arc::clone(&handled)).start();
        idle.send(Work).await.unwrap();
        let accepted = (0..1_000).filter(|_| idle.clone().try_send(Work).is_ok()).count();
        assert_eq!(handled.load(Ordering::Relaxed), 1, "it has not run meanwhile");
        assert_eq!(accepted, 1_000);
    });
}
