//! Starts the nodes and makes sure that none outlives the command.

use std::{fs::File, path::Path, process::Stdio, thread, time::Duration};

use peerstage_core::{address::Address, config::Layers};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
};

use super::{
    LocalnetError,
    member::{ORDERS_MAX, Order, View, run_node},
    plan::{NodePlan, Plan},
    remote::Remote,
};

/// How long a node may take to listen: a debug build on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a node may take to close before it is killed, and longer than it gives itself
/// (`timeouts.shutdown`).
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// The running nodes, and the board on which their views hang.
pub(super) struct Launched {
    in_process: bool,
    members: Vec<Launch>,
    board: watch::Sender<Vec<View>>,
}

struct Launch {
    orders: Option<mpsc::Sender<Order>>,
    body: Body,
    remote: Remote,
}

enum Body {
    Process(Child),
    Thread(oneshot::Receiver<()>),
}

impl Launched {
    pub(super) fn new(plan: &Plan, in_process: bool) -> Self {
        let views = vec![View::default(); plan.nodes.len()];
        Launched { in_process, members: Vec::new(), board: watch::Sender::new(views) }
    }

    /// Starts the bootstrap node, then all others; returns when every one listens. The hostile
    /// node is told to connect to everybody as they come, so that everybody can judge it.
    pub(super) async fn start(&mut self, plan: &Plan) -> Result<(), LocalnetError> {
        let mut bootstrap = None;
        for node in &plan.nodes {
            self.launch(plan, node, bootstrap)?;
            if bootstrap.is_none() {
                bootstrap = Some(self.listening(plan, node).await?);
            }
        }
        for node in &plan.nodes {
            let address = self.listening(plan, node).await?;
            if let Some(hostile) = plan.hostile().filter(|hostile| hostile.node != node.node)
                && self.listening(plan, hostile).await.is_ok()
                && let Some(remote) = self.remote(hostile.index)
            {
                remote.connect(address).await?;
            }
        }
        Ok(())
    }

    fn launch(
        &mut self,
        plan: &Plan,
        node: &NodePlan,
        bootstrap: Option<Address>,
    ) -> Result<(), LocalnetError> {
        let config = plan.write_config(node, bootstrap)?;
        let pin = Pin { index: node.index, board: self.board.clone() };
        let (orders, body) = match self.in_process {
            true => launch_thread(&config, plan.set(), pin)?,
            false => launch_process(&config, plan.set(), &node.log(), pin)?,
        };
        let remote = Remote::new(node.index, node.socket());
        self.members.push(Launch { orders: Some(orders), body, remote });
        Ok(())
    }

    /// Where a node listens, once it does.
    async fn listening(&self, plan: &Plan, node: &NodePlan) -> Result<Address, LocalnetError> {
        let mut board = self.board.subscribe();
        let listens = board.wait_for(|views| {
            views
                .get(node.index)
                .is_some_and(|view| !view.listen.is_empty() || view.ended.is_some())
        });
        let failed = |why: &str| LocalnetError::Node {
            index: node.index,
            why: why.to_owned(),
            log: match self.in_process {
                true => plan.folder.clone(),
                false => node.log(),
            },
        };
        let views = match tokio::time::timeout(START_TIMEOUT, listens).await {
            Ok(Ok(views)) => views,
            _ => return Err(failed("did not start in time")),
        };
        let view = views.get(node.index).cloned().unwrap_or_default();
        match (view.ended, view.listen.first()) {
            (None, Some(address)) => Ok(*address),
            (ended, _) => Err(failed(ended.as_deref().unwrap_or("listens nowhere"))),
        }
    }

    /// The views of all nodes, now and whenever one changes.
    pub(super) fn board(&self) -> watch::Receiver<Vec<View>> {
        self.board.subscribe()
    }

    /// A node's admin socket.
    pub(super) fn remote(&self, index: usize) -> Option<&Remote> {
        self.members.get(index).map(|member| &member.remote)
    }

    /// A node's process id; none if it has no process of its own, or ended.
    pub(super) fn process(&self, index: usize) -> Option<u32> {
        match &self.members.get(index)?.body {
            Body::Process(child) => child.id(),
            Body::Thread(_) => None,
        }
    }

    /// Tells a node's chain what to do. A node that is gone shows on the board.
    pub(super) async fn order(&self, index: usize, order: Order) {
        let member = self.members.get(index);
        if let Some(orders) = member.and_then(|member| member.orders.as_ref()) {
            let _ = orders.send(order).await;
        }
    }

    /// Ends every node: first by closing its orders, then by force.
    pub(super) async fn stop(&mut self) {
        for member in &mut self.members {
            member.orders = None;
        }
        let ends = self.members.drain(..).map(|member| end(member.body));
        futures_util::future::join_all(ends).await;
    }
}

async fn end(body: Body) {
    match body {
        Body::Process(mut child) => {
            if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        Body::Thread(ended) => {
            let _ = tokio::time::timeout(STOP_TIMEOUT, ended).await;
        }
    }
}

/// One node's place on the board.
#[derive(Clone)]
struct Pin {
    index: usize,
    board: watch::Sender<Vec<View>>,
}

impl Pin {
    fn set(&self, view: View) {
        self.change(|place| *place = view);
    }

    fn end(&self, why: &str) {
        self.change(|place| place.ended = Some(why.to_owned()));
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        self.board.send_modify(|views| {
            if let Some(place) = views.get_mut(self.index) {
                change(place);
            }
        });
    }
}

/// A process of its own group, so that the terminal's Ctrl-C reaches the launcher alone, which
/// then ends the nodes in order.
fn launch_process(
    config: &Path,
    set: &[String],
    log: &Path,
    pin: Pin,
) -> Result<(mpsc::Sender<Order>, Body), LocalnetError> {
    let log_file =
        File::create(log).map_err(|error| LocalnetError::File { path: log.to_owned(), error })?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("localnet-node")
        .arg(config)
        .args(set.iter().flat_map(|flag| ["--set", flag]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    if let Some(pipe) = child.stdin.take() {
        tokio::spawn(write_orders(ordered, pipe));
    }
    if let Some(pipe) = child.stdout.take() {
        tokio::spawn(read_views(pipe, pin));
    }
    Ok((orders, Body::Process(child)))
}

/// Closes the pipe, and with it the node, when no more orders can come.
async fn write_orders(mut orders: mpsc::Receiver<Order>, mut pipe: ChildStdin) {
    while let Some(order) = orders.recv().await {
        let Ok(mut line) = serde_json::to_vec(&order) else { return };
        line.push(b'\n');
        if pipe.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read_views(pipe: ChildStdout, pin: Pin) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(view) => pin.set(view),
            Err(error) => return pin.end(&format!("wrote what is no view: {error}")),
        }
    }
    pin.end("ended");
}

/// A thread with a node on it. The node makes more of its own.
fn launch_thread(
    config: &Path,
    set: &[String],
    pin: Pin,
) -> Result<(mpsc::Sender<Order>, Body), LocalnetError> {
    let text = std::fs::read_to_string(config)
        .map_err(|error| LocalnetError::File { path: config.to_owned(), error })?;
    let layers = Layers::new().file(config.display().to_string(), text);
    let config = layers.flags(set.to_vec()).load()?.config;
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let (views, mut viewed) = watch::channel(View::default());
    let (ended, end) = oneshot::channel();
    let shown = pin.clone();
    tokio::spawn(async move {
        while viewed.changed().await.is_ok() {
            shown.set(viewed.borrow_and_update().clone());
        }
        shown.end("ended");
    });
    let socket = config.admin.socket.as_option().map(|socket| config.path(socket));
    let stop = move || {
        // Its thread waits for an operator's word; this is one.
        if let Some(socket) = socket {
            actix_rt::spawn(async move { Remote::new(pin.index, socket).shutdown().await });
        }
    };
    thread::Builder::new().name(format!("node-{}", shown_index(&config))).spawn(move || {
        if let Err(error) = run_node(config, ordered, views, || {}, stop) {
            eprintln!("{error}");
        }
        let _ = ended.send(());
    })?;
    Ok((orders, Body::Thread(end)))
}

fn shown_index(config: &peerstage_core::config::Config) -> &str {
    config.node.name.trim_start_matches("node-")
}
