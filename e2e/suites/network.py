"""Validators in processes of their own, every link between them a relay's: 50 ms one way, a tenth of them never started. Figures; then the leader is killed,
and the network parted and healed. Run by e2e/run, which starts seven: `NETWORK_VALIDATORS=21 e2e/run network` starts so many.

Settings, in the environment: NETWORK_VALIDATORS, NETWORK_DELAY (ms), NETWORK_SECONDS (of measuring), NETWORK_RATE (transfers a second), NETWORK_FAULTS (0: none),
RELAY_BIN (the example `relay` of crates/network), NETWORK_LOG."""

import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from check import check, finish, setting  # noqa: E402
from eth_account import Account  # noqa: E402
from links import Network, quantile, until  # noqa: E402


def number(name, default):
    """A setting that is a number."""
    return int(os.environ.get(name, default))


JOVE = setting("JOVE_BIN")
RELAY = os.environ.get("RELAY_BIN") or str(Path(JOVE).parent / "examples" / "relay")
COUNT, DELAY, SECONDS = number("NETWORK_VALIDATORS", 7), number("NETWORK_DELAY", 50), number("NETWORK_SECONDS", 15)
RATE, FAULTS = number("NETWORK_RATE", 80), number("NETWORK_FAULTS", 1)
WORK = Path(setting("E2E_WORK"))
Account.enable_unaudited_hdwallet_features()
SENDER = Account.from_mnemonic(setting("MNEMONIC"), account_path="m/44'/60'/0'/0/3")
SOMEONE = "0x00000000000000000000000000000000000f0701"


class Load(threading.Thread):
    """Transfers, steadily, each to two nodes; from the first that is not in a block again, where that stands still."""

    def __init__(self, network):
        super().__init__(daemon=True)
        self.network, self.signed, self.done, self.at = network, [], False, 0

    def raw(self, nonce):
        """The transfer with this nonce."""
        while len(self.signed) <= nonce:
            fields = {"chainId": 5683, "nonce": len(self.signed), "gas": 21_000, "value": 1, "to": SOMEONE,
                      "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**6}
            self.signed.append("0x" + SENDER.sign_transaction(fields).raw_transaction.hex().removeprefix("0x"))
        return self.signed[nonce]

    def run(self):
        included, since = 0, time.monotonic()
        while not self.done:
            time.sleep(1 / RATE)
            try:
                nodes = self.network.alive()
                pair = [nodes[self.at % len(nodes)], nodes[(self.at + 1) % len(nodes)]]
                for one in pair:
                    one.ask("eth_sendRawTransaction", self.raw(self.at))
                self.at += 1
                if self.at % RATE == 0:
                    now = int(pair[0].ask("eth_getTransactionCount", SENDER.address, "latest"), 16)
                    if now != included:
                        included, since = now, time.monotonic()
                    elif time.monotonic() - since > 2:
                        self.at, since = included, time.monotonic()
            except (OSError, TypeError, ValueError, IndexError):
                pass  # a node that was killed just now


def advanced(nodes, by, seconds, what):
    """Waits until each has so many final checkpoints more."""
    before = [one.height() for one in nodes]
    until(what, seconds, lambda: all(one.height() >= height + by for one, height in zip(nodes, before)))


def begin(network, offline):
    """Starts all but a few; they certify."""
    for one in network.validators[: COUNT - offline]:
        one.start()
    until("all answer", 60, lambda: all(one.status() for one in network.alive()))
    load = Load(network)
    load.start()
    advanced(network.alive(), 20, 90, "final checkpoints")
    return load


def measure(network):
    """Latencies as the proposers see them, bytes over the links, CPU."""
    nodes = network.alive()
    before, bytes_before = [one.metrics() for one in nodes], network.relay.bytes()
    cpu, height, began = sum(one.cpu() for one in nodes), nodes[0].height(), time.monotonic()
    time.sleep(SECONDS)
    after, bytes_after = [one.metrics() for one in nodes], network.relay.bytes()
    seconds, heights = time.monotonic() - began, nodes[0].height() - height
    cpu = (sum(one.cpu() for one in nodes) - cpu) / seconds
    figures = {"n": COUNT, "running": len(nodes), "delay_ms": DELAY, "checkpoints_per_second": round(heights / seconds, 2)}
    for name in ("soft", "final"):
        for share in (0.5, 0.99):
            value, count = quantile(before, after, f"jove_consensus_{name}_seconds", 'proposal="own"', share)
            figures[f"{name}_p{round(share * 100)}_ms"] = None if value is None else round(value * 1000)
        figures[f"{name}_count"] = count
    value, _ = quantile(before, after, "jove_consensus_log_seconds", "", 0.5)
    figures["log_sync_p50_ms"] = None if value is None else round(value * 1000, 2)
    figures["bytes_per_node_and_checkpoint"] = round((bytes_after - bytes_before) / len(nodes) / max(heights, 1))
    figures["cores_busy"] = round(cpu, 2)
    figures["mib_per_node"] = round(sum(one.memory() for one in nodes) / len(nodes))
    print(f"      {json.dumps(figures)}", flush=True)
    assert heights > 0 and figures["final_count"] > 0, figures
    return figures


def metrics_are_there(network):
    """What docs/consensus.md names."""
    found = {name for name, _ in network.alive()[0].metrics()}
    wanted = ["epoch", "view", "height", "validators", "quorum", "participation", "soft_seconds_count", "final_seconds_count", "log_seconds_count"]
    missing = [name for name in wanted if f"jove_consensus_{name}" not in found]
    assert not missing, missing


def come_back(network, dead):
    """A validator that was killed goes on from its log, and catches up."""
    dead.start()
    until("it answers", 30, dead.status)
    others = [one for one in network.alive() if one is not dead]
    goal = max(one.height() for one in others)
    until("it has caught up", 60, lambda: dead.height() >= goal)
    assert dead.status()["halted"] is None and dead.status()["failed"] is None, dead.status()


def held_above(alive):
    """The blocks above the last certified one that anyone holds: hashes by number."""
    held = {}
    for one in alive:
        certified, head = one.status()["block"], int(one.ask("eth_blockNumber"), 16)
        numbers = range(certified + 1, head + 1)
        blocks = one.ask_all([("eth_getBlockByNumber", [hex(number), False]) for number in numbers]) if numbers else []
        for number, block in zip(numbers, blocks):
            if block is not None:  # not withdrawn meanwhile
                held.setdefault(number, set()).add(block["hash"])
    return held


def kill_the_leader(network):
    """Whatever anyone else holds of its blocks is final in the end."""
    for _ in range(8):
        leader = until("a leader", 30, network.leader)
        leader.kill()
        for _ in range(10):
            time.sleep(0.3)  # what was under way arrives
            if len({one.ask("eth_blockNumber") for one in network.alive()}) == 1:
                break
        held = held_above(network.alive())
        if held and all(len(hashes) == 1 for hashes in held.values()):
            break
        # All that it sealed was certified already, or it had just begun to lead, and some had blocks that the leader before sealed meanwhile: once more.
        come_back(network, leader)
    assert held, "nobody held a block that was not certified: there is nothing to see"
    assert all(len(hashes) == 1 for hashes in held.values()), held
    last = max(held)
    alive = network.alive()
    until("they are certified", 60, lambda: all(one.status()["block"] > last for one in alive))
    for one in alive:
        blocks = one.ask_all([("eth_getBlockByNumber", [hex(number), False]) for number in held])
        kept = {number: {block["hash"]} for number, block in zip(held, blocks)}
        assert kept == held, (one.index, held, kept)
    print(f"      {len(held)} blocks of the dead leader, {min(held)} to {last}, are final", flush=True)
    skips = sum(value for (name, _), value in alive[0].metrics().items() if name == "jove_consensus_skips_total")
    assert skips > 0 and alive[0].status()["whySkipped"], "nobody says why a view was skipped"
    return leader


def part_and_heal(network):
    """Two halves, neither a quorum: nothing becomes final. Healed, they go on, and no two differ."""
    nodes = network.alive()
    half = len(nodes) // 2
    network.between(nodes[:half], nodes[half:], "hold")
    time.sleep(2)  # what was under way
    before = [one.height() for one in nodes]
    for _ in range(10):  # a busy machine has more under way, but nothing without an end
        time.sleep(2)
        last, before = before, [one.height() for one in nodes]
        if before == last:
            break
    time.sleep(6)
    assert [one.height() for one in nodes] == before, "a side without a quorum certifies"
    network.between(nodes[:half], nodes[half:], "open")
    advanced(nodes, 10, 60, "final checkpoints after healing")


def nobody_differs(network):
    """At every height all have one checkpoint, with one last block."""
    nodes = network.alive()
    upto = min(one.height() for one in nodes)
    all_of_them = [network.checkpoints(one, upto) for one in nodes]
    assert len(all_of_them[0]) == upto
    for one, found in zip(nodes, all_of_them):
        different = [height for height in found if found[height] != all_of_them[0][height]]
        assert not different, (one.index, different[:5])
    assert all(one.status()["halted"] is None for one in nodes)
    print(f"      {upto} checkpoints on {len(nodes)} nodes", flush=True)


def nobody_is_unclean(unclean):
    """Each ended with status 0."""
    assert not unclean, unclean


def main():
    """The whole of it."""
    if not Path(RELAY).exists():
        print(f"{RELAY} is not there: cargo build --release --workspace --example relay, or RELAY_BIN")
        sys.exit(2)
    spec = json.loads((WORK / "dev.json").read_text())
    offline = max(1, COUNT // 10)
    sequencers = 3
    network = Network(JOVE, RELAY, spec, WORK / "network", COUNT, sequencers, DELAY)
    load = None
    try:
        load = check(f"{COUNT - offline} of {COUNT} validators certify, {DELAY} ms apart", begin, network, offline)
        if load is not None:
            check("figures", measure, network)
            check("metrics", metrics_are_there, network)
        if load is not None and FAULTS:
            dead = check("the leader is killed, and its blocks survive", kill_the_leader, network)
            if dead is not None:
                check("it comes back", come_back, network, dead)
            check("a partition heals", part_and_heal, network)
        check("no two final checkpoints of one height", nobody_differs, network)
    finally:
        if load is not None:
            load.done = True
        unclean = network.stop()
    check("all stop cleanly", nobody_is_unclean, unclean)
    finish()


main()
