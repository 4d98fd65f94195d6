"""One node: a process of the product in a host of the test bed, asked over its admin socket."""

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

# How long a node may take to start, to answer, and to end, s. The product's own limit for the end
# is 5 s (`timeouts.shutdown`); the machine may be busy.
START_S, ANSWER_S, END_S = 30, 15, 15


class Refused(Exception):
    """The node answered with an error."""


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket. Its path leads into any network namespace."""

    def __init__(self, path, timeout_s):
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def toml(value):
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


class Node:
    """A node. `sessions` are its peers, each with the time at which it came, s since the epoch."""

    def __init__(self, lab, binary, host, folder, settings):
        self.lab, self.binary, self.host = lab, str(binary), host
        self.folder, self.log = folder, folder.with_suffix(".log")
        self.id, self.process, self.follower = None, None, None
        self.sessions = {}
        self.cli("init", *(f"--set={key}={toml(value)}" for key, value in settings.items()))
        self.socket = folder / "admin.sock"

    def command(self, *arguments):
        return self.lab.inside(
            self.host, [self.binary, *arguments, "--json", f"--data-dir={self.folder}"]
        )

    def cli(self, *arguments, check=True):
        """A command of the command line, run in the node's host; its answer."""
        ran = subprocess.run(
            self.command(*arguments),
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and ran.returncode:
            raise RuntimeError(f"{self.host}: peerstage {arguments[0]}: {ran.stderr.strip()}")
        return json.loads(ran.stdout)

    def start(self):
        """Starts it; returns when it listens."""
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command("run"),
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"{self.host}: the node did not start, see {self.log}")
        self.id = json.loads(line)["node"]
        events = self.open("GET", "/v1/events?heartbeat=60s", None, None)
        events.readline()  # "subscribed": from here on nothing is missed
        self.follower = threading.Thread(target=self.follow, args=(events,), daemon=True)
        self.follower.start()

    def follow(self, events):
        """Keeps `sessions`, until the stream ends with the node."""
        try:
            for line in events:
                event = json.loads(line)
                if event["event"] == "peer_connected":
                    self.sessions = self.sessions | {event["peer"]: event["at"] / 1000}
                elif event["event"] == "peer_disconnected":
                    gone = event["peer"]
                    self.sessions = {p: at for p, at in self.sessions.items() if p != gone}
        except (OSError, http.client.HTTPException):
            pass  # it was killed

    def open(self, method, path, body, timeout_s):
        connection = Connection(self.socket, timeout_s)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        return connection.getresponse()

    def ask(self, path, body=None):
        """Asks the admin interface: GET, or POST if there is a body. Raises Refused."""
        with self.open("POST" if body is not None else "GET", path, body, ANSWER_S) as response:
            answer = json.loads(response.read())
        if response.status != 200:
            raise Refused(f"{self.host}: {path}: {answer['error']}")
        return answer

    def reach(self):
        return self.ask("/v1/status")["reach"]

    def record(self):
        """What the node tells of where it is, as `connect` takes it. `NODEID@IP:PORT` leads over
        every transport, so that an address in full that says the same is left out."""
        told = [own["address"] for own in self.reach()["addresses"]]
        short = {address for address in told if not address.startswith("/")}
        record = [f"{self.id}@{address}" for address in told if address in short]
        for address in told:
            parts = address.split("/")
            if address in short or len(parts) == 6 and f"{parts[2]}:{parts[4]}" in short:
                continue
            record.append(f"{address}/p2p/{self.id}")
        return record

    def connect(self, record):
        for address in record:
            self.ask("/v1/connect", {"address": address})

    def forget(self, peer):
        """No longer wants `peer`, connected or not."""
        try:
            self.ask("/v1/disconnect", {"peer": peer})
        except Refused:
            pass  # it is not connected, and is no longer wanted either

    def view(self, peer):
        """What the node says of a peer; None if it has no such peer."""
        try:
            return self.ask(f"/v1/peers/{peer}")
        except Refused:
            return None

    def stop(self):
        """Ends it in order; kills it if that takes too long. Whether it ended by itself."""
        if self.process is None:
            return True
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_S)
            return self.process.returncode == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def wait_until(holds, limit_s, step_s=0.02):
    """Waits until `holds()` is true; its value, or its last one."""
    end = time.monotonic() + limit_s
    while not (value := holds()) and time.monotonic() < end:
        time.sleep(step_s)
    return value
