"""web3.py: HTTP, WebSocket and IPC providers; contracts, events, filters, subscriptions, batches. Run by e2e/run."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from check import check, check_async, finish, setting  # noqa: E402
from eth_account import Account  # noqa: E402
from web3 import AsyncHTTPProvider, AsyncIPCProvider, AsyncWeb3, HTTPProvider, IPCProvider, Web3, WebSocketProvider  # noqa: E402
from web3.exceptions import ContractCustomError, TransactionNotFound, Web3RPCError  # noqa: E402

URL, WS_URL, IPC_PATH = setting("RPC_URL"), setting("WS_URL"), os.environ.get("IPC_PATH")
Account.enable_unaudited_hdwallet_features()
SENDER = Account.from_mnemonic(setting("MNEMONIC"), account_path="m/44'/60'/0'/0/6")
ARTIFACT = json.loads(Path(setting("E2E_OUT"), "Token.sol", "Token.json").read_text())

LONG = 60  # seconds, for what is there within one: they bound a test that hangs

w3 = Web3(HTTPProvider(URL))


def fresh():
    """An address that nobody has used."""
    return Account.create().address


def signed(fields):
    """A signed 1559 transaction of SENDER."""
    price = w3.eth.get_block("latest")["baseFeePerGas"] * 2 + 10**9
    defaults = {
        "chainId": 5683, "nonce": w3.eth.get_transaction_count(SENDER.address), "gas": 100_000, "value": 0,
        "maxFeePerGas": price, "maxPriorityFeePerGas": 10**6,
    }
    return SENDER.sign_transaction({**defaults, **fields})


def mined(tx_hash):
    """The receipt, of a success."""
    receipt = w3.eth.wait_for_transaction_receipt(tx_hash, timeout=LONG, poll_latency=0.02)
    assert receipt["status"] == 1, receipt
    return receipt


def send(fields):
    """Sends, waits; returns the receipt."""
    return mined(w3.eth.send_raw_transaction(signed(fields).raw_transaction))


def cost(receipt):
    """Fees in wei, Jove's L1 data fee among them; web3.py leaves a field that it does not know as hex."""
    l1_fee = receipt.get("l1Fee", 0)
    return receipt["gasUsed"] * receipt["effectiveGasPrice"] + (int(l1_fee, 16) if isinstance(l1_fee, str) else l1_fee)


def until(probe, what):
    """Polls."""
    end = time.monotonic() + LONG
    while not probe():
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.02)


def chain():
    assert w3.is_connected()
    assert w3.eth.chain_id == 5683
    assert w3.net.version == "5683" and w3.net.listening
    assert w3.client_version
    assert w3.eth.syncing is False
    block = w3.eth.get_block("latest", full_transactions=True)
    assert w3.eth.get_block(block["hash"], full_transactions=True) == block
    assert w3.eth.get_block("earliest")["number"] == 0


def transfer():
    target, before = fresh(), w3.eth.get_balance(SENDER.address)
    receipt = send({"to": target, "value": 77})
    assert receipt["type"] == 2 and receipt["gasUsed"] == 21_000
    assert w3.eth.get_balance(target) == 77
    assert before - w3.eth.get_balance(SENDER.address) == 77 + cost(receipt)
    sent = w3.eth.get_transaction(receipt["transactionHash"])
    assert sent["from"] == SENDER.address and sent["blockHash"] == receipt["blockHash"]
    assert w3.eth.get_transaction_by_block(sent["blockNumber"], sent["transactionIndex"]) == sent
    assert w3.eth.get_raw_transaction(sent["hash"])[:1] == b"\x02"
    assert receipt in w3.eth.get_block_receipts(receipt["blockNumber"])


def missing():
    try:
        w3.eth.get_transaction_receipt("0x" + "ab" * 32)
    except TransactionNotFound:
        return
    raise AssertionError("found a transaction that was never sent")


def deploy():
    factory = w3.eth.contract(abi=ARTIFACT["abi"], bytecode=ARTIFACT["bytecode"]["object"])
    data = factory.constructor("Web3", "PY", 10**21).data_in_transaction
    gas = w3.eth.estimate_gas({"from": SENDER.address, "data": data})
    receipt = send({"data": data, "gas": gas})
    token = w3.eth.contract(receipt["contractAddress"], abi=ARTIFACT["abi"])
    assert token.functions.symbol().call() == "PY"
    assert token.functions.balanceOf(SENDER.address).call() == 10**21
    assert w3.eth.get_code(token.address) == bytes.fromhex(ARTIFACT["deployedBytecode"]["object"][2:])
    return token


def pay(token, target, amount):
    """Transfers tokens; returns the receipt."""
    return send({"to": token.address, "data": token.encode_abi("transfer", [target, amount])})


def events(token):
    target = fresh()
    receipt = pay(token, target, 5)
    (event,) = token.events.Transfer().process_receipt(receipt)
    assert dict(event["args"]) == {"from": SENDER.address, "to": target, "value": 5}
    found = token.events.Transfer().get_logs(from_block=0, argument_filters={"to": target})
    assert [one["transactionHash"] for one in found] == [receipt["transactionHash"]]
    topic = Web3.keccak(text="Transfer(address,address,uint256)")
    assert len(w3.eth.get_logs({"fromBlock": 0, "toBlock": "latest", "address": token.address, "topics": [topic]})) == 2
    assert w3.eth.get_logs({"fromBlock": 0, "topics": [None, None, "0x" + "00" * 31 + "07"]}) == []


def custom_error(token):
    try:
        token.functions.transfer(SENDER.address, 1).call({"from": fresh()})
    except ContractCustomError as error:
        assert str(error).find("0xe450d38c") >= 0, error  # ERC20InsufficientBalance
        return
    raise AssertionError("did not revert")


def filters(token):
    logs, blocks, pending = token.events.Transfer().create_filter(from_block="latest"), w3.eth.filter("latest"), w3.eth.filter("pending")
    receipt = pay(token, fresh(), 6)
    found = [(logs, []), (blocks, []), (pending, [])]

    def told():
        """A receipt may be there a moment before the filters know its block."""
        for one, entries in found:
            entries.extend(one.get_new_entries())
        return all(entries for _, entries in found)

    until(told, "the filters' entries")
    told()
    assert [one["transactionHash"] for one in found[0][1]] == [receipt["transactionHash"]]
    assert found[1][1].count(receipt["blockHash"]) == 1
    assert found[2][1].count(receipt["transactionHash"]) == 1
    assert w3.eth.uninstall_filter(logs.filter_id) and not w3.eth.uninstall_filter(logs.filter_id)


def txpool():
    nonce = w3.eth.get_transaction_count(SENDER.address)
    later = w3.eth.send_raw_transaction(signed({"to": fresh(), "nonce": nonce + 1}).raw_transaction)
    status = w3.geth.txpool.status()
    assert int(status["queued"], 16) >= 1, status
    queued = w3.geth.txpool.content()["queued"]
    mine = {who.lower(): by_nonce for who, by_nonce in queued.items()}[SENDER.address.lower()]
    assert mine[str(nonce + 1)]["hash"] == later.to_0x_hex(), mine
    assert SENDER.address.lower() in [who.lower() for who in w3.geth.txpool.inspect()["queued"]]
    send({"to": fresh(), "nonce": nonce})  # fills the gap
    mined(later)
    until(lambda: int(w3.geth.txpool.status()["queued"], 16) == 0, "an empty queue")


def fee_history():
    newest = w3.eth.block_number
    history = w3.eth.fee_history(3, newest, [10, 50, 90])
    assert len(history["baseFeePerGas"]) == 4 and len(history["gasUsedRatio"]) == 3
    assert all(len(row) == 3 for row in history["reward"])
    assert history["oldestBlock"] == newest - 2
    assert w3.eth.max_priority_fee >= 0 and w3.eth.gas_price > 0


def proof(token):
    number = w3.eth.block_number
    found = w3.eth.get_proof(token.address, [2], number)  # slot 2: the supply
    assert int.from_bytes(found["storageProof"][0]["value"], "big") == 10**21
    assert Web3.keccak(found["accountProof"][0]) == w3.eth.get_block(number)["stateRoot"]


def batch(token):
    with w3.batch_requests() as requests:
        requests.add(w3.eth.get_block(0))
        requests.add(w3.eth.get_balance(SENDER.address))
        requests.add(token.functions.symbol().call())
        for _ in range(50):
            requests.add(w3.eth.get_transaction_count(SENDER.address))
        answers = requests.execute()
    assert answers[0]["number"] == 0 and answers[1] > 0 and answers[2] == "PY"
    assert len(answers) == 53 and len(set(answers[3:])) == 1


def refusals():
    for fields, words in [({"nonce": 0}, "nonce"), ({"value": 10**24}, "funds"), ({"gas": 20_000}, "gas")]:
        try:
            w3.eth.send_raw_transaction(signed({"to": fresh(), **fields}).raw_transaction)
        except Web3RPCError as error:
            assert words in str(error).lower(), error
        else:
            raise AssertionError(f"accepted {fields}")


def ipc_sync():
    over_ipc = Web3(IPCProvider(IPC_PATH))
    assert over_ipc.eth.chain_id == 5683
    assert over_ipc.eth.get_block(0)["hash"] == w3.eth.get_block(0)["hash"]
    with over_ipc.batch_requests() as requests:
        for _ in range(100):
            requests.add(over_ipc.eth.get_block(0))
        assert len(requests.execute()) == 100
    receipt = over_ipc.eth.wait_for_transaction_receipt(
        over_ipc.eth.send_raw_transaction(signed({"to": fresh(), "value": 1}).raw_transaction), timeout=LONG, poll_latency=0.02
    )
    assert receipt["status"] == 1


async def subscriptions(provider, token):
    """newHeads, logs and newPendingTransactions over one connection, while three transfers are mined."""
    async with AsyncWeb3(provider) as socket:
        assert await socket.eth.chain_id == 5683
        heads = await socket.eth.subscribe("newHeads")
        logs = await socket.eth.subscribe("logs", {"address": token.address})
        pending = await socket.eth.subscribe("newPendingTransactions")
        assert len({heads, logs, pending}) == 3
        receipts = [await asyncio.to_thread(pay, token, fresh(), amount) for amount in (1, 2, 3)]
        want = {(heads, one["blockHash"]) for one in receipts}
        want |= {(logs, one["transactionHash"]) for one in receipts}
        want |= {(pending, one["transactionHash"]) for one in receipts}
        heights, values = [], []

        async def collect():
            async for message in socket.socket.process_subscriptions():
                which, result = message["subscription"], message["result"]
                if which == heads:
                    heights.append(result["number"])
                    want.discard((which, result["hash"]))
                elif which == logs:
                    values.append(int.from_bytes(result["data"], "big"))
                    want.discard((which, result["transactionHash"]))
                else:
                    want.discard((which, result))
                if not want:
                    return

        try:
            await asyncio.wait_for(collect(), LONG)
        except TimeoutError:
            raise AssertionError(f"never came: {want}") from None
        assert heights == sorted(set(heights)), heights
        assert values == [1, 2, 3], values
        assert await socket.eth.unsubscribe(heads) is True
        assert await socket.eth.unsubscribe(logs) is True
        assert await socket.eth.unsubscribe(pending) is True


async def concurrent():
    """Two hundred calls in flight over HTTP."""
    client = AsyncWeb3(AsyncHTTPProvider(URL))
    try:
        blocks = await asyncio.gather(*(client.eth.get_block(0) for _ in range(200)))
        assert len({block["hash"] for block in blocks}) == 1
    finally:
        await client.provider.disconnect()


def main():
    check("chain", chain)
    check("transfer, to the wei", transfer)
    check("no such transaction", missing)
    token = check("deploy with estimated gas", deploy)
    if token is None:
        finish()
    check("events and logs", events, token)
    check("a custom error's data", custom_error, token)
    check("filters", filters, token)
    check("txpool: a gap is held and filled", txpool)
    check("fee history", fee_history)
    check("proof", proof, token)
    check("batch", batch, token)
    check("refusals", refusals)
    asyncio.run(check_async("two hundred calls at once", concurrent()))
    asyncio.run(check_async("WebSocket: subscriptions", subscriptions(WebSocketProvider(WS_URL), token)))
    if IPC_PATH:
        check("IPC", ipc_sync)
        asyncio.run(check_async("IPC: subscriptions", subscriptions(AsyncIPCProvider(IPC_PATH), token)))
    else:
        print("skip  IPC: no path given")
    finish()


main()
