"""A network of validators on one machine: processes, and the links between them, shaped by a relay."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from ports import free_ports

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def until(what, seconds, condition):
    """Waits until the condition holds, for so long on an idle machine, and four times that on a busy one; returns what it gave."""
    seconds *= 4
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, KeyError, TypeError, ValueError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s (last: {last})")


class Relay:
    """The relay: it takes commands, one a line, and answers each."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def command(self, line):
        """Gives a command."""
        self.process.stdin.write(line + "\n")
        answer = self.process.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise AssertionError(f"relay: {line}: {answer}")
        return answer[3:]

    def bytes(self):
        """Bytes that all links have forwarded."""
        return sum(int(entry.rpartition("=")[2]) for entry in self.command("stats").split())

    def stop(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.wait(60)


class Validator:
    """A validator's process, and what it says."""

    def __init__(self, program, index, folder, chain, port, listen, name):
        self.index, self.folder, self.name, self.process = index, folder, name, None
        self.url = f"http://127.0.0.1:{port}"
        self.command = [
            program, "node", "--role", "validator", "--chain", str(chain), "--datadir", str(folder), "--http-port", str(port),
            "--p2p-listen", f"/ip4/127.0.0.1/tcp/{listen}", "--votes-from", "0",
            # Nobody answers there: the others know the links' addresses, and use no other way.
            "--p2p-external", "/ip4/127.0.0.1/tcp/9",
            "--log", os.environ.get("NETWORK_LOG", "warn"),
        ]

    def start(self):
        """Starts the process."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOVE_")}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def runs(self):
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks it to stop; whether it did, cleanly."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(120) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def ask_all(self, calls):
        """The results of several calls of (method, parameters), in order; None for an error."""
        body = [{"jsonrpc": "2.0", "id": id, "method": method, "params": params} for id, (method, params) in enumerate(calls)]
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        answers = json.load(_opener.open(request, timeout=60))
        return [one.get("result") for one in sorted(answers, key=lambda one: one["id"])]

    def ask(self, method, *params):
        """The result of one call."""
        return self.ask_all([(method, list(params))])[0]

    def status(self):
        """Where its consensus stands."""
        return self.ask("jove_validators")["status"]

    def height(self):
        """Its last final checkpoint."""
        return self.status()["height"]

    def metrics(self):
        """Its metrics: (name, labels) to value."""
        text = _opener.open(f"{self.url}/metrics", timeout=60).read().decode()
        lines = re.findall(r"^(\w+)(\{[^}]*\})? (\S+)$", text, re.MULTILINE)
        return {(name, labels): float(value) for name, labels, value in lines}

    def cpu(self):
        """Seconds of CPU that its process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Its resident memory, in MiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) // 1024


class Network:
    """Validators, every two of them joined by two links, one for each direction of dialling."""

    def __init__(self, jove, relay, spec, folder, count, sequencers, delay):
        self.folder, self.count = folder, count
        listen, http = free_ports(count), free_ports(count)
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        links = dict(zip(pairs, free_ports(len(pairs))))
        entries = []
        for index in range(count):
            (folder / str(index)).mkdir(parents=True)
            command = [jove, "validator", "init", "--datadir", str(folder / str(index))]
            entries.append(json.loads(subprocess.check_output(command + (["--sequencer"] if index < sequencers else []))))
        self.validators = []
        for index in range(count):
            genesis = []
            for other, entry in enumerate(entries):
                port = listen[other] if other == index else links[(index, other)]
                genesis.append({**entry, "addresses": [f"/ip4/127.0.0.1/tcp/{port}"]})
            chain = folder / str(index) / "chain.json"
            validators = {"epochLength": 200, "termLength": 64, "seats": 64, "genesis": genesis}
            chain.write_text(json.dumps({**spec, "validators": validators}))
            name = entries[index]["id"]
            self.validators.append(Validator(jove, index, folder / str(index), chain, http[index], listen[index], name))
        self.relay = Relay(relay)
        for (a, b), port in links.items():
            self.relay.command(f"link {a}-{b}- tcp 127.0.0.1:{port} 127.0.0.1:{listen[b]} {delay}")

    def alive(self):
        """Those that run."""
        return [one for one in self.validators if one.runs()]

    def leader(self):
        """The leader of the term, as most that run see it, if it runs."""
        seen = [one.status()["leader"] for one in self.alive()]
        name = max(set(seen), key=seen.count)
        return next((one for one in self.alive() if one.name == name), None)

    def between(self, these, those, verb):
        """`hold`, `cut` or `open` all links between two groups."""
        for a in these:
            for b in those:
                self.relay.command(f"{verb} {a.index}-{b.index}-")
                self.relay.command(f"{verb} {b.index}-{a.index}-")

    def checkpoints(self, validator, upto):
        """What a validator says is final, by height."""
        found = {}
        for first in range(1, upto + 1, 100):
            heights = range(first, min(first + 100, upto + 1))
            answers = validator.ask_all([("jove_getCheckpoint", [height]) for height in heights])
            found.update((height, (one["digest"], one["lastBlockHash"])) for height, one in zip(heights, answers))
        return found

    def stop(self):
        """Ends all; those that did not stop cleanly."""
        alive = self.alive()
        for one in alive:
            one.process.send_signal(signal.SIGINT)
        unclean = [one.index for one in alive if not one.stop()]
        self.relay.stop()
        return unclean


def quantile(before, after, name, label, share):
    """A quantile of a histogram's entries between two readings of the metrics of several nodes, in seconds, interpolated; and how many there were."""
    bounds = {}
    for first, second in zip(before, after):
        for (metric, labels), value in second.items():
            if metric == f"{name}_bucket" and label in (labels or ""):
                bound = float(re.search(r'le="([^"]+)"', labels)[1])
                bounds[bound] = bounds.get(bound, 0) + value - first.get((metric, labels), 0)
    total = max(bounds.values(), default=0)
    if total == 0:
        return None, 0
    below, lower = 0, 0.0
    for bound in sorted(bounds):
        if bounds[bound] >= share * total:
            width = 0 if bound == float("inf") else bound - lower
            return lower + width * (share * total - below) / max(bounds[bound] - below, 1), int(total)
        below, lower = bounds[bound], bound
    return lower, int(total)
