"""The test bed: `natlab` from Python, and whether this machine allows it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

# `natlab up` takes 5 s; what fails instead of hanging.
PATIENCE_S = 120


@dataclass(frozen=True)
class Host:
    """A line of `natlab hosts`. `outside` is the address that the internet sees."""

    name: str
    role: str
    nat: str
    address: str
    outside: str
    router: str


def why_not():
    """Why namespaces cannot be made here; None if they can."""
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    return tried.stderr.strip() or "unshare --net failed" if tried.returncode else None


def become_root():
    """Starts this program again as root of namespaces of its own, if it is not root already. There,
    /run is another one: `ip netns` keeps its names in it."""
    if os.geteuid() == 0:
        return
    inner = 'mount -t tmpfs tmpfs /run && exec "$0" "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork"]
    tried = subprocess.run([*unshare, "--mount-proc", "true"], capture_output=True, text=True)
    if tried.returncode == 0:
        started = [*unshare, "--mount-proc", "sh", "-c", inner, sys.executable, *sys.argv]
        os.execvp("unshare", started)


class Lab:
    """A test bed of its own, or the one that NATLAB_ID names if it is up. Comes and goes with
    `with`; one that was up stays."""

    def __init__(self):
        self.id = os.environ.get("NATLAB_ID", f"nl{os.getpid()}")
        self.environment = os.environ | {"NATLAB_ID": self.id}
        self.was_up = False
        self.hosts = {}

    def natlab(self, *command):
        """Runs a command of `natlab`, and returns what it prints."""
        ran = subprocess.run(
            [HERE / "natlab", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
        )
        if ran.returncode:
            raise RuntimeError(f"natlab {' '.join(command)}: {ran.stderr.strip() or ran.stdout}")
        return ran.stdout

    def __enter__(self):
        self.was_up = "NATLAB_ID" in os.environ and self.is_up()
        if not self.was_up:
            self.natlab("up")
        self.look()
        return self

    def __exit__(self, *_):
        if not self.was_up:
            self.natlab("down")

    def is_up(self):
        try:
            return bool(self.natlab("hosts"))
        except RuntimeError:
            return False

    def look(self):
        """Reads who is there, and where."""
        lines = self.natlab("hosts").splitlines()
        self.hosts = {host.name: host for host in (Host(*line.split("\t")) for line in lines)}

    def inside(self, host, command):
        """The command that runs `command` in a host."""
        return ["ip", "netns", "exec", f"{self.id}-{host}", *map(str, command)]

    def same_lan(self, a, b):
        return self.hosts[a].router == self.hosts[b].router != "-"

    def same_carrier(self, a, b):
        return self.hosts[a].outside == self.hosts[b].outside and not self.same_lan(a, b)

    def stun_servers(self):
        first = self.hosts["stun"].address
        second = first.rsplit(".", 1)[0] + ".11"
        return [f"{first}:3478", f"{second}:3478"]
