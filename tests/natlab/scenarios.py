"""What is tried. A scenario prints what it sees and returns a line for each thing that is not as
`expected.toml` wants it."""

import itertools
import json
import os
import subprocess
import time
import uuid

import report
from node import wait_until
from pairs import BOOTSTRAP, Crew, kind_of, meet_all

# How long a silent STUN server may be asked before UDP counts as blocked, s: RFC 8489's 39.5 s,
# and some.
BLOCKED_S = 50
# How long a site is given to come back, s: twice the target, so that what is late is seen.
BACK_S = 60
# The findings of `doctor` that are compared.
DIAGNOSES = ("public address", "nat", "port mapping")
# Between two messages to find out who is back, s.
BEAT_S = 0.25


class Plan:
    """What a run is about."""

    def __init__(self, lab, binary, expected, folder, sites, tries, ask, transports):
        self.lab, self.binary, self.expected, self.folder = lab, binary, expected, folder
        self.sites, self.tries, self.ask = sites, tries, ask
        self.transports = transports
        self.targets = expected["targets"]
        self.crews = itertools.count()

    def crew(self, sites, **options):
        """New nodes, at ports of their own."""
        number = next(self.crews)
        folder = self.folder / f"crew{number}"
        return Crew(self.lab, self.binary, self.expected, folder, sites, number,
                    self.transports, **options)

    def kind(self, site):
        """The kind by which a site counts: a carrier's NAT shows where it is the stricter one."""
        nat = os.environ.get("NATLAB_CGN_NAT", "port")
        kind = kind_of(self.expected, site)
        return "symmetric" if kind == "carrier" and nat in ("sym", "seq") else kind

    def wanted(self, a, b):
        """How a pair must end."""
        if self.lab.same_lan(a, b):
            return "D"
        ways = self.expected["ways"]
        way = ways[self.kind(a)][ways["kinds"].index(self.kind(b))]
        hairpins = os.environ.get("NATLAB_CGN_HAIRPIN", "1") == "1"
        careless = os.environ.get("NATLAB_UNSOLICITED") == "accept"
        if way == "P" and (careless or self.lab.same_carrier(a, b) and not hairpins):
            return "R"
        return way


def pairs(plan, stun=True):
    """Every pair, so many times."""
    bad, meetings = [], []
    every = list(itertools.combinations(plan.sites, 2))
    for number in range(plan.tries):
        with plan.crew(plan.sites) as crew:
            # STUN is asked from QUIC's port.
            unsettled = crew.settle(stun and "quic" in plan.transports)
            bad += [f"{host}: {why}" for host, why in unsettled.items()]
            met = meet_all(plan.lab, crew.nodes, every, plan.wanted, plan.ask)
            meetings += met
            connected = sum(meeting.connected_s is not None for meeting in met)
            print(f"try {number + 1}: {connected} of {len(every)} pairs connected", flush=True)
            bad += misled(plan, crew)
    print(report.grid(plan.sites, meetings))
    print(report.by_kind(plan.kind, meetings))
    return bad + report.shortfalls(plan.wanted, plan.targets, meetings)


def without_servers(plan):
    """The same while the STUN and TURN servers are dead: peers alone must do."""
    plan.lab.natlab("servers", "stop")
    try:
        return pairs(plan, stun=False)
    finally:
        plan.lab.natlab("servers", "start")


def misled(plan, crew):
    """Nodes that take themselves for reachable by strangers, and are not."""
    bad = []
    for host, node in crew.nodes.items():
        if plan.expected["nat"][plan.kind(host)]["strangers"]:
            continue
        for transport in node.reach()["transports"]:
            if transport["verdict"] in ("public", "mapped", "forwarded"):
                bad.append(f"{host} says that strangers reach it over {transport['transport']}: "
                           f"{transport['verdict']}")
    return bad


def doctor(plan):
    """What `doctor` finds at each site, without the node and with it."""
    bad = []
    for running in (False, True):
        crew = plan.crew(plan.sites)
        if running:
            with crew:
                crew.settle()
                blocked = [n for h, n in crew.nodes.items() if plan.kind(h) == "blocked"]
                for node in blocked:
                    wait_until(lambda: node.reach()["nat"] != "unknown", BLOCKED_S, step_s=0.5)
                found = Crew.of_all(examine, list(crew.nodes.values()))
        else:
            crew.folder.mkdir(parents=True)
            found = Crew.of_all(examine, Crew.of_all(crew.make, plan.sites))
        print("with the node:" if running else "without the node:")
        for site, checks in zip(plan.sites, found):
            seen = [f"{name}: {checks.get(name, '-')}" for name in DIAGNOSES]
            print(f"  {site:<7}{' | '.join(' '.join(text.split())[:70] for text in seen)}")
            bad += wrong_diagnosis(plan, site, checks, running)
    return bad


def examine(node):
    answer = node.cli("doctor", "--time-server=none", check=False)
    checks = {}
    for check in answer["checks"]:
        checks.setdefault(check["check"], check["found"])
    return checks


def wrong_diagnosis(plan, site, checks, running):
    want, outside = plan.expected["nat"][plan.kind(site)], plan.lab.hosts[site].outside
    when, bad = "running" if running else "stopped", []
    address, nat, port_mapping = (checks.get(name, "") for name in DIAGNOSES)
    right = f"mapping: {want['mapping']}" == nat if running else nat.startswith(want["stopped"])
    if want["mapping"] == "udp blocked" and not running:
        right = address.startswith("no STUN server answers")
    elif outside not in address:
        bad.append(f"{site} ({when}): public address {address!r} is not {outside}")
    if not right:
        bad.append(f"{site} ({when}): nat {nat!r} should be {want['mapping']!r}")
    if plan.kind(site) == "mapped" and outside not in port_mapping:
        bad.append(f"{site} ({when}): port mapping {port_mapping!r}")
    return bad


def mapping(plan):
    """The router's mapping is there while the node runs and gone afterwards; a router behind a
    carrier maps nothing, and the node does not think so."""
    sites, bad, ports = ["upnp1", "cgn1"], [], {}
    with plan.crew(sites) as crew:
        bad += [f"{host}: {why}" for host, why in crew.settle().items()]
        for host, node in crew.nodes.items():
            reach = node.reach()
            told = [f"{own['address']} ({own['origin']})" for own in reach["addresses"]]
            gateways = [f"{t['transport']}: {t['gateway']}" for t in reach["transports"]]
            said = f"{host}: tells {', '.join(told) or 'nothing'}; {'; '.join(gateways)}"
            print(" ".join(said.split()))
            mapped = [own for own in reach["addresses"] if own["origin"] == "mapped"]
            if (plan.kind(host) == "mapped") != (len(mapped) == 2):
                bad.append(f"{host} tells {len(mapped)} mapped addresses")
            ports[host] = crew.port(host)
            rules = forwards(plan, host, ports[host])
            if rules != (["tcp", "udp"] if plan.kind(host) == "mapped" else []):
                bad.append(f"{host}'s router maps {rules or 'nothing'}")
    left = {host: forwards(plan, host, ports[host]) for host in sites}
    left = {host: rules for host, rules in left.items() if rules}
    print(f"after the end: {left or 'no port is mapped'}")
    return bad + [f"{host}'s router still maps {rules} after it" for host, rules in left.items()]


def forwards(plan, site, port):
    """The mappings that a site's router has made for its host's port: `tcp` and `udp`."""
    rules = plan.lab.natlab("show", f"r-{site}").split("chain upnp_dnat {")[1].split("}")[0]
    to_it = f"dnat ip to {plan.lab.hosts[site].address}:{port}"
    # As nft shows what miniupnpd wrote: the protocol by its number.
    names = {"0x6": "tcp", "0x11": "udp"}
    mine = [line for line in rules.splitlines() if line.strip().endswith(to_it)]
    return sorted(name for line in mine for number, name in names.items() if f" {number} " in line)


def rebind(plan):
    """Sites whose router gets another address, one after the other: how long until they and their
    peers hear each other again."""
    behind = [s for s in plan.sites if plan.lab.hosts[s].nat in ("full", "addr", "port", "sym")]
    partners = [site for site in plan.sites if plan.kind(site) == "public"]
    moving = [s for s in behind if plan.lab.hosts[plan.lab.hosts[s].router].router == "-"]
    # One site for each kind.
    moving = list({plan.kind(site): site for site in reversed(moving)}.values())[::-1]
    if not moving or not partners:
        return ["of the sites none is public, or none can move"]
    bad = []
    with plan.crew([*moving, *partners]) as crew:
        crew.settle()
        met = [(site, partner) for site in moving for partner in partners]
        meet_all(plan.lab, crew.nodes, met, plan.wanted, "first")
        for site in moving:
            bad += move(plan, crew, site)
    return bad


def move(plan, crew, site):
    """Moves one site there and back. Its peers now are the ones that must hear it again."""
    node, bad = crew.nodes[site], []
    everybody = [*crew.bootstrap.values(), *crew.nodes.values()]
    peers = [other for other in everybody if other.id in node.sessions]
    where = plan.lab.hosts[site].outside
    for to in ([], [where]):
        plan.lab.natlab("rebind", site, *to)
        since, back = time.time(), {}
        # What was still on its way has arrived by now: only what comes from here on counts.
        before = {other.host: heard(node, other) for other in peers}
        plan.lab.look()
        while len(back) < len(peers) and time.time() < since + BACK_S:
            for speaker in (node, *peers):
                speaker.ask("/v1/broadcast", {"kind": "custom", "body": uuid.uuid4().hex})
            time.sleep(BEAT_S)
            for other in peers:
                now = heard(node, other)
                if other.host not in back and all(map(newer, before[other.host], now)):
                    back[other.host] = time.time() - since
        texts = [f"{o.host} {back[o.host]:.1f}" if o.host in back else f"{o.host} -" for o in peers]
        print(f"{site} to {plan.lab.hosts[site].outside}, s: {', '.join(texts)}", flush=True)
        limit = plan.targets["back_s_max"]
        late = [o.host for o in peers if back.get(o.host, BACK_S) > limit]
        if late or not peers:
            whom = ", ".join(late) or "anybody"
            bad.append(f"{site} was not back within {limit:.0f} s with {whom}")
    return bad


def heard(one, other):
    """What each of two nodes has received from the other: since when, and how much."""
    views = one.view(other.id), other.view(one.id)
    return [(view["connected"], view["traffic"]["bytes_in"]) if view else (0, 0) for view in views]


def newer(before, now):
    """Whether something came since: the handshake of a new connection, or more on the old one."""
    return now[0] > before[0] or now[0] == before[0] and now[1] > before[1]


def corp(plan):
    """A node that may use TCP 80 and 443 only: by a peer that listens there."""
    with plan.crew(["corp1"]) as crew:
        node, started = crew.nodes["corp1"], time.time()
        wait_until(lambda: node.sessions, BACK_S)
        took = min(node.sessions.values()) - started if node.sessions else None
        ways = [f"{v['address']} ({v['transport']})" for v in map(node.view, node.sessions) if v]
        after = f" after {took:.1f} s" if took is not None else ""
        print(f"corp1: peers at {', '.join(ways) or '-'}{after}")
    return first_peer(plan, took)


def corp_turn(plan):
    """The same where no peer listens at such a port: by TURN over TCP."""
    shown = [plan.binary, "config", "show", "--json"]
    known = json.loads(subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
    if "turn_servers" not in known["nat"]:
        return ["corp1 cannot get in by TURN: this build knows no nat.turn_servers"]
    with plan.crew(["corp1"], open_port=False) as crew:
        node, started = crew.nodes["corp1"], time.time()
        wait_until(lambda: node.sessions, BACK_S)
        took = min(node.sessions.values()) - started if node.sessions else None
        print(f"corp1: {len(node.sessions)} of {len(BOOTSTRAP)} peers")
    return first_peer(plan, took)


def first_peer(plan, took):
    limit = plan.targets["first_peer_s_max"]
    late = took is None or took > limit
    return [f"corp1 had its first peer after {took} s, not within {limit:.0f} s"] if late else []


SCENARIOS = {
    "doctor": doctor,
    "mapping": mapping,
    "pairs": pairs,
    "without-servers": without_servers,
    "rebind": rebind,
    "corp": corp,
    "corp-turn": corp_turn,
}
