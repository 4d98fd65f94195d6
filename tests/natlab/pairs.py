"""Connects pairs of nodes, and tells how each connection came about."""

import ipaddress
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from node import Node, wait_until

BOOTSTRAP = ["boot", "boot2", "boot3"]
# Bootstrap nodes listen at PORT, the others at one of the PORTS behind it.
PORT, PORTS, SITES_MAX = 30400, 20_000, 20
# What a firewall lets out; every bootstrap node listens there too.
OPEN_PORT = 443
# How long a pair may take at most, s: longer than the target, so that what is late is seen to be
# late. And how long a relayed pair is given to become direct.
PATIENCE_S, UPGRADE_S = 8, 15
# How long nodes may take to find their bootstrap peers and their addresses, s. A router that is
# asked by three protocols may take 12 s to refuse.
SETTLE_S = 20
# Pairs at a time, and nodes that start at a time: two cores.
PAIRS_AT_ONCE, STARTS_AT_ONCE = 6, 6

# The ways a pair can end connected, by their letters.
WAYS = {
    "D": "direct: the row dialled a public host",
    "V": "reversed: the column dialled a public host",
    "M": "mapped: dialled at a port that the router maps",
    "L": "dialled at an address in the same LAN",
    "P": "punched: dialled at a port that the NAT opened",
    "R": "relayed by a peer",
    "T": "relayed by a TURN server",
    "-": "none",
}
RELAYED, NONE = ("R", "T"), "-"


@dataclass
class Meeting:
    """How a try went. Times are s from the order to connect; None if that never came."""

    a: str
    b: str
    way: str = NONE
    transport: str = ""
    connected_s: float | None = None
    direct_s: float | None = None


class Crew:
    """The nodes of one try: three bootstrap nodes, and one in each of the sites. All are new, at
    ports that no NAT has seen yet, so that no try is helped by what an earlier one opened."""

    def __init__(
        self, lab, binary, expected, folder, sites, number, transports, open_port=True
    ):
        self.lab, self.binary, self.expected, self.folder = lab, binary, expected, folder
        self.sites, self.number, self.open_port = sites, number, open_port
        self.transports = transports
        self.bootstrap, self.nodes = {}, {}

    def __enter__(self):
        try:
            self.folder.mkdir(parents=True)
            self.bootstrap = self.start(BOOTSTRAP)
            self.nodes = self.start(self.sites)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for group in (self.nodes, self.bootstrap):
            self.of_all(Node.stop, list(group.values()))

    @staticmethod
    def of_all(work, things):
        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            return list(pool.map(work, things))

    def start(self, hosts):
        nodes = self.of_all(self.make, hosts)
        started = dict(zip(hosts, nodes))
        try:
            self.of_all(Node.start, nodes)
        except BaseException:
            self.of_all(Node.stop, nodes)
            raise
        return started

    def make(self, host):
        settings = self.settings(host)
        return Node(self.lab, self.binary, host, self.folder / host, settings)

    def settings(self, host):
        every = dict(self.expected["settings"]["every"])
        every["nat.stun_servers"] = self.lab.stun_servers()
        every["network.transports"] = self.transports
        if not ipaddress.ip_address(self.lab.hosts["boot"].address).is_global:
            every["network.allow_private_addresses"] = True
        if host in BOOTSTRAP:
            ports = [PORT, OPEN_PORT] if self.open_port else [PORT]
            every |= self.expected["settings"]["bootstrap"]
        else:
            ports = [self.port(host)]
            blocked = self.expected["sites"].get(host) == "blocked"
            port = OPEN_PORT if blocked else PORT
            every["network.persistent_peers"] = [
                f"{node.id}@{self.lab.hosts[name].address}:{port}"
                for name, node in self.bootstrap.items()
            ]
        every["network.listen"] = [f"0.0.0.0:{port}" for port in ports]
        return every

    def port(self, site):
        """The port of a site's node: another one for each site and each crew."""
        return PORT + 1 + (self.number * SITES_MAX + self.sites.index(site)) % PORTS

    def settle(self, stun=True):
        """Waits until every node has its bootstrap peers and knows its addresses, as far as
        peers, routers and (if they live) STUN servers tell. The ones that don't, with what they
        miss."""
        boots = {node.id for node in self.bootstrap.values()}

        def missing(node):
            met = len(boots & node.sessions.keys())
            if met < len(boots):
                return f"{met} of {len(boots)} bootstrap peers"
            reach = node.reach()
            kind = kind_of(self.expected, node.host)
            if kind == "mapped" and not any(o["origin"] == "mapped" for o in reach["addresses"]):
                return "no mapped address"
            if stun and kind != "blocked" and reach["nat"] == "unknown":
                return "no answer from STUN"
            return None

        def patiently(node):
            wait_until(lambda: missing(node) is None, SETTLE_S, step_s=0.1)
            return missing(node)

        found = self.of_all(patiently, list(self.nodes.values()))
        return {host: why for host, why in zip(self.nodes, found) if why}


def kind_of(expected, host):
    return (expected["sites"] | expected["others"]).get(host, "public")


def classify(lab, a, b):
    """How two nodes are connected now: a letter of WAYS and the transport. None while they do not
    agree, as when a second connection has just replaced the first."""
    of_b, of_a = a.view(b.id), b.view(a.id)
    if not of_b or not of_a or of_b["outbound"] == of_a["outbound"]:
        return None
    if of_b["transport"] != of_a["transport"]:
        return None
    transport = of_b["transport"]
    dialler, listener, dialled = (a, b, of_b) if of_b["outbound"] else (b, a, of_a)
    if "circuit" in transport or "circuit" in dialled["address"]:
        return "R", transport
    turn = {ip_of(server) for server in lab.stun_servers()}
    if turn & {ip_of(of_a["address"]), ip_of(of_b["address"])}:
        return "T", transport
    if lab.hosts[listener.host].role == "public":
        return "D" if dialler is a else "V", transport
    if ip_of(dialled["address"]) == lab.hosts[listener.host].address:
        return "L", transport
    mapped = [own["address"] for own in listener.reach()["addresses"] if own["origin"] == "mapped"]
    return "M" if dialled["address"] in mapped else "P", transport


def ip_of(address):
    """The IP of an address in either form, IPv4."""
    return address.split("/")[2] if address.startswith("/") else address.rsplit(":", 1)[0]


def meet(lab, a, b, wanted, ask):
    """Has `a` connect to where `b` says it is, or `b` to `a`, or both: `first`, `last`, `both`."""
    meeting = Meeting(a.host, b.host)
    record_a, record_b = a.record(), b.record()
    asked, seen = time.time(), None
    if ask != "last":
        a.connect(record_b)
    if ask != "first":
        b.connect(record_a)
    while time.time() < asked + (PATIENCE_S if meeting.connected_s is None else UPGRADE_S):
        since = a.sessions.get(b.id), b.sessions.get(a.id)
        if all(since) and since != seen and (found := classify(lab, a, b)):
            seen, (meeting.way, meeting.transport) = since, found
            elapsed = max(since) - asked
            if meeting.connected_s is None:
                meeting.connected_s = elapsed
            if meeting.way not in RELAYED:
                meeting.direct_s = elapsed
                break
            if wanted == "R":
                break
        time.sleep(0.02)
    if meeting.connected_s is None:
        a.forget(b.id)
        b.forget(a.id)
    return meeting


def meet_all(lab, nodes, pairs, wanted, ask):
    """Connects all pairs, several at a time but each node in one at a time. The meetings."""
    waiting, busy, meetings = list(pairs), set(), []
    free = threading.Condition()

    def take():
        with free:
            while waiting:
                for pair in waiting:
                    if not busy & set(pair):
                        waiting.remove(pair)
                        busy.update(pair)
                        return pair
                free.wait()
        return None

    def work(_):
        while pair := take():
            a, b = pair
            try:
                meeting = meet(lab, nodes[a], nodes[b], wanted(a, b), ask)
            except BaseException:
                with free:
                    waiting.clear()
                    free.notify_all()
                raise
            with free:
                meetings.append(meeting)
                busy.difference_update(pair)
                free.notify_all()

    with ThreadPoolExecutor(PAIRS_AT_ONCE) as pool:
        for _ in pool.map(work, range(PAIRS_AT_ONCE)):
            pass
    return meetings
