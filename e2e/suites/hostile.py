"""Hostile clients, with raw sockets and the standard library alone: each input gets its JSON-RPC or HTTP error within the limit,
and the node still answers afterwards. Run by e2e/run.

What counts as right is JSON-RPC 2.0 (-32700 parse error, -32600 invalid request, -32601 method not found, -32602 invalid
params), HTTP semantics (RFC 9110, 9112) and WebSocket (RFC 6455)."""

import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from check import check, failed, finish  # noqa: E402
from wire import ADDRESS, HOST, IPC_PATH, LIMIT, Connection, Pipe, Socket, chunked, http  # noqa: E402

NODE_PID = os.environ.get("NODE_PID")
PARSE, REQUEST, METHOD, PARAMS = -32700, -32600, -32601, -32602
ZERO = "0x" + "00" * 20
# A server may also answer what cannot be JSON-RPC with an HTTP status of its own.
CLIENT_ERROR = range(400, 500)


# --- calls ---


def post(body, limit=LIMIT, **options):
    """Sends one request on its own connection; `(status, headers, body)`."""
    body = body.encode() if isinstance(body, str) else body
    with Connection(limit) as connection:
        connection.send(http(body, **options))
        answer = connection.response()
        assert answer is not None, "closed without an answer"
        return answer


def call(method, *params, limit=LIMIT):
    """The JSON-RPC answer of a well-formed call."""
    _, _, body = post(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}), limit)
    answer = json.loads(body)
    assert answer["jsonrpc"] == "2.0" and answer["id"] == 7, str(answer)[:200]
    return answer


def alive():
    """The node answers an ordinary call."""
    assert int(call("eth_blockNumber")["result"], 16) >= 0


def hostile(name, body, *args):
    """Checks, and then that the node is still there."""
    check(name, body, *args)
    try:
        alive()
    except Exception as error:  # all that follows would fail for this one's sake
        failed(f"the node answers after {name}", error)
        finish()


# --- expectations ---


def code_of(answer):
    """The error code of a JSON-RPC answer, whose form is checked."""
    assert answer.get("jsonrpc") == "2.0" and "id" in answer and "result" not in answer, str(answer)[:200]
    error = answer["error"]
    assert isinstance(error["code"], int) and isinstance(error["message"], str) and error["message"], str(error)[:200]
    assert len(json.dumps(error)) < 10_000, "the error echoes too much"
    return error["code"]


def refused(body, *codes, http_status=(), identity=None):
    """A lone request that gets one of `codes`, or one of `http_status` with any body."""
    status, _, answer = post(body)
    if status in http_status:
        return
    assert status in (200, 400), f"HTTP {status}"
    answer = json.loads(answer)
    assert isinstance(answer, dict), "one request, one answer"
    code = code_of(answer)
    assert code in codes, f"code {code} ({answer['error']['message'][:100]}), expected {codes}"
    assert answer["id"] == identity, f"id {answer['id']!r}, expected {identity!r}"


def refused_call(method, params, *codes):
    """A well-formed request that gets one of `codes`, by default -32602."""
    refused(json.dumps({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}), *(codes or (PARAMS,)), identity="x")


def answered(method, params, limit=LIMIT):
    """A result or an error: but in time and bounded."""
    answer = call(method, *params, limit=limit)
    assert ("result" in answer) != ("error" in answer)
    if "error" in answer:
        code_of(answer)


def one(method="eth_blockNumber", identity=1, params="[]"):
    """JSON text of one request."""
    return f'{{"jsonrpc":"2.0","id":{identity},"method":"{method}","params":{params}}}'


def turned_away(answer):
    """The end of the connection, a 4xx or a JSON-RPC error."""
    if answer is None or answer[0] in CLIENT_ERROR:
        return
    assert answer[0] == 200, f"HTTP {answer[0]}"
    assert code_of(json.loads(answer[2])) in (PARSE, REQUEST)


def closes_or_refuses(data):
    """Bytes that are no whole HTTP request."""
    with Connection() as connection:
        connection.send(data)
        turned_away(connection.response())


# --- malformed JSON and malformed requests ---


def malformed():
    deep = b"[" * 100_000
    texts = {
        "truncated": one()[:-5], "no JSON": "jove", "two values": one() + " x", "single quotes": one().replace('"', "'"),
        "trailing comma": one(params="[1,]"), "NaN": one(params="[NaN]"), "control character": one(params='["\x01"]'),
        "bad escape": one(params='["\\x"]'), "lone brace": "}", "a byte-order mark": "\ufeff{",
    }
    for name, text in texts.items():
        hostile(f"malformed JSON: {name}", refused, text, PARSE)
    # Whether no JSON at all is bad JSON or bad HTTP is a matter of taste.
    hostile("an empty body", lambda: refused("", PARSE, REQUEST, http_status=CLIENT_ERROR))
    hostile("invalid UTF-8", lambda: refused(one(params='["\0"]').encode().replace(b"\0", b"\xff\xfe\xc0"), PARSE, http_status=CLIENT_ERROR))
    hostile("100,000 open brackets", lambda: refused(deep, PARSE, REQUEST, http_status=CLIENT_ERROR))
    closed = b"[" * 100_000 + b"]" * 100_000
    hostile("100,000 nested batches", lambda: nested(closed))
    hostile("100,000 open objects", lambda: refused(b'{"a":' * 100_000, PARSE, REQUEST, http_status=CLIENT_ERROR))
    hostile("params nested 100,000 deep", lambda: nested(one(params="\0").encode().replace(b"\0", closed)))
    hostile("an id nested 100,000 deep", lambda: nested(one(identity="\0").encode().replace(b"\0", closed)))


def nested(body):
    """Deep but well-formed: any error will do."""
    status, _, answer = post(body)
    if status in CLIENT_ERROR and not answer.startswith((b"{", b"[")):
        return
    answer = json.loads(answer)
    assert code_of(answer[0] if isinstance(answer, list) else answer) in (PARSE, REQUEST, PARAMS)


def invalid_requests():
    for text in ["1", '"x"', "null", "true", "{}", '{"jsonrpc":"2.0"}', '{"method":"eth_blockNumber"}']:
        hostile(f"invalid request: {text}", refused, text, REQUEST)
    cases = {
        "no method": '{"jsonrpc":"2.0","id":1}',
        "the method is a number": '{"jsonrpc":"2.0","id":1,"method":5}',
        "version 1.0": one().replace('"2.0"', '"1.0"'),
    }
    for name, text in cases.items():
        hostile(f"invalid request: {name}", either_id, text, REQUEST)
    hostile("invalid request: the id is an object", refused, one(identity="{}"), REQUEST)
    hostile("params are a number", either_id, one(params="5"), REQUEST, PARAMS)
    hostile("params are an object", either_id, one("eth_getBlockByNumber", params='{"block":"latest"}'), PARAMS)
    for method in ["eth_nothing", "eth_", "ETH_BLOCKNUMBER", "__proto__", "eth_blockNumber\\u0000", "../etc/passwd"]:
        hostile(f"unknown method {method}", either_id, one(method), METHOD)
    hostile("an empty method", either_id, one(""), METHOD, REQUEST)
    hostile("a method name of a megabyte", either_id, one("e" * 1_000_000), METHOD, REQUEST)
    hostile("an id of a megabyte", bounded_id)


def either_id(body, *codes):
    """As `refused`; whether the id was read before the fault was found is left open."""
    status, _, answer = post(body)
    assert status in (200, 400), f"HTTP {status}"
    answer = json.loads(answer)
    assert code_of(answer) in codes, answer
    assert answer["id"] in (1, None)


def bounded_id():
    """Echoed, or refused."""
    status, _, answer = post(one(identity='"' + "i" * 1_000_000 + '"'))
    answer = json.loads(answer)
    assert "result" in answer or code_of(answer) in (REQUEST, PARSE)


# --- batches ---


def batches():
    hostile("an empty batch", refused, "[]", REQUEST)
    hostile("a batch of what is no request", batch_of_errors, "[1, 2, []]", 3)
    hostile("a request's members as an array", batch_of_errors, '[["2.0", 1, "eth_blockNumber", []]]', 1)
    hostile("a batch of 10,000", big_batch)
    hostile("a batch with good, bad and silent requests", mixed_batch)
    notification = '{"jsonrpc":"2.0","method":"eth_blockNumber","params":[]}'
    hostile("a notification", silent, notification)
    hostile("a notification of an unknown method", silent, notification.replace("eth_blockNumber", "eth_nothing"))
    hostile("a batch of notifications", silent, f"[{notification},{notification}]")


def batch_of_errors(body, count):
    answers = json.loads(post(body)[2])
    assert isinstance(answers, list) and len(answers) == count, answers
    assert all(code_of(answer) == REQUEST and answer["id"] is None for answer in answers)


def big_batch():
    """Answered in full, or refused as one."""
    status, _, body = post("[" + ",".join(one(identity=number) for number in range(10_000)) + "]")
    if status in CLIENT_ERROR and not body:
        return
    answers = json.loads(body)
    if isinstance(answers, list) and len(answers) == 10_000:
        assert {answer["id"] for answer in answers} == set(range(10_000))
        return
    answer = answers[0] if isinstance(answers, list) else answers
    code_of(answer)


def mixed_batch():
    silent_one = '{"jsonrpc":"2.0","method":"eth_blockNumber"}'
    answers = json.loads(post(f'[{one(identity=1)},{silent_one},{one("eth_nothing", 2)},7,{one(identity=3)}]')[2])
    by_id = {answer["id"]: answer for answer in answers}
    assert set(by_id) == {1, 2, 3, None} and len(answers) == 4, answers
    assert "result" in by_id[1] and "result" in by_id[3]
    assert code_of(by_id[2]) == METHOD and code_of(by_id[None]) == REQUEST


def silent(body):
    status, _, answer = post(body)
    assert 200 <= status < 300 and answer == b"", f"HTTP {status} {answer[:100]!r}"


# --- parameters ---


def parameters():
    bad = {
        "a short address": ("eth_getBalance", ["0x12", "latest"]),
        "a long address": ("eth_getBalance", [ZERO + "00", "latest"]),
        "an address that is no hex": ("eth_getBalance", ["0x" + "zz" * 20, "latest"]),
        "an address that is a number": ("eth_getBalance", [1, "latest"]),
        "an address that is a list": ("eth_getBalance", [[ZERO], "latest"]),
        "no parameters": ("eth_getBalance", []),
        "too many parameters": ("eth_getBalance", [ZERO, "latest", "latest", 1]),
        "an unknown tag": ("eth_getBalance", [ZERO, "newest"]),
        "a negative block": ("eth_getBlockByNumber", ["-0x1", False]),
        "a fraction": ("eth_getBlockByNumber", [1.5, False]),
        "a block beyond 64 bits": ("eth_getBlockByNumber", ["0x1" + "0" * 16, False]),
        "a block of a million digits": ("eth_getBlockByNumber", ["0x" + "f" * 1_000_000, False]),
        "a flag that is a string": ("eth_getBlockByNumber", ["latest", "yes"]),
        "a short hash": ("eth_getBlockByHash", ["0xab", False]),
        "a slot beyond 256 bits": ("eth_getStorageAt", [ZERO, "0x1" + "00" * 32, "latest"]),
        "a call that is a string": ("eth_call", ["transfer", "latest"]),
        "gas beyond 64 bits": ("eth_call", [{"to": ZERO, "gas": "0x1" + "0" * 16}, "latest"]),
        "a value beyond 256 bits": ("eth_call", [{"to": ZERO, "value": "0x1" + "0" * 64}, "latest"]),
        "odd hex": ("eth_call", [{"to": ZERO, "data": "0x123"}, "latest"]),
        "a transaction that is no hex": ("eth_sendRawTransaction", ["transaction"]),
        "a transaction that is null": ("eth_sendRawTransaction", [None]),
        "more than four topics": ("eth_getLogs", [{"topics": [None] * 5}]),
        "logs by hash and by range": ("eth_getLogs", [{"blockHash": "0x" + "00" * 32, "fromBlock": "0x0"}]),
        "logs of a block that is no number": ("eth_getLogs", [{"fromBlock": "zero"}]),
        "fee percentiles that fall": ("eth_feeHistory", ["0x2", "latest", [90, 10]]),
        "fee percentiles above 100": ("eth_feeHistory", ["0x2", "latest", [101]]),
        "fee percentiles below 0": ("eth_feeHistory", ["0x2", "latest", [-1]]),
        "a fee history that is negative": ("eth_feeHistory", ["-0x2", "latest", []]),
        "a tracer of the caller's invention": ("debug_traceCall", [{"to": ZERO}, "latest", {"tracer": "{data: []}"}]),
    }
    lenient = {"fee percentiles that fall", "fee percentiles above 100", "fee percentiles below 0", "more than four topics",
               "a tracer of the caller's invention"}
    for name, (method, params) in bad.items():
        codes = (PARAMS, -32000) if name in lenient else (PARAMS,)
        hostile(f"{method}: {name}", refused_call, method, params, *codes)
    for name, raw in {"nothing": "0x", "one zero": "0x00", "a type and no more": "0x02", "an unknown type": "0x7fc0",
                      "a deposit": "0x7ec0", "an endless list": "0xf9ffff", "a list of 2^64 bytes": "0xff" + "ff" * 8,
                      "100,000 nested lists": "0x02f9ffff" + "c1" * 100_000, "a megabyte of zeros": "0x" + "00" * 1_000_000}.items():
        hostile(f"eth_sendRawTransaction: {name}", refused_call, "eth_sendRawTransaction", [raw], PARAMS, -32000, -32003)
    differ = {"to": ZERO, "data": "0x12345678", "input": "0x87654321"}
    hostile("eth_call: data and input that differ", refused_call, "eth_call", [differ, "latest"], PARAMS, -32000)
    hostile("eth_getFilterChanges: no such filter", refused_call, "eth_getFilterChanges", ["0xdead"], -32000, -32001, PARAMS)
    hostile("eth_subscribe without a way back", refused_call, "eth_subscribe", ["newHeads"], METHOD, -32000, REQUEST)


def excess():
    """Requests that are well-formed and too much: an answer in time, whatever it says."""
    last = "0x" + "f" * 16
    loop = {"data": "0x5b600056", "gas": "0x7fffffffffffffff"}  # JUMPDEST PUSH1 0 JUMP, as init code
    memory = {"data": "0x60ff67ffffffffffffffff52", "gas": "0x7fffffffffffffff"}  # MSTORE at 2^64 - 1
    cases = {
        "eth_getLogs over every block number": ("eth_getLogs", [{"fromBlock": "0x0", "toBlock": last}]),
        "eth_getLogs backwards": ("eth_getLogs", [{"fromBlock": last, "toBlock": "0x0"}]),
        "eth_getLogs with 5,000 addresses": ("eth_getLogs", [{"fromBlock": "0x0", "address": [f"0x{n:040x}" for n in range(5_000)]}]),
        "eth_getLogs with 5,000 topics": ("eth_getLogs", [{"fromBlock": "0x0", "topics": [[f"0x{n:064x}" for n in range(5_000)]]}]),
        "eth_feeHistory of every block": ("eth_feeHistory", [last, "latest", [50]]),
        "eth_feeHistory with 20,000 percentiles": ("eth_feeHistory", ["0x400", "latest", [n / 200 for n in range(20_000)]]),
        "eth_feeHistory of a future block": ("eth_feeHistory", ["0x1", last, []]),
        "eth_getBlockByNumber: the last number": ("eth_getBlockByNumber", [last, True]),
        "eth_call at the last number": ("eth_call", [{"to": ZERO}, last]),
        "eth_getProof of 10,000 slots": ("eth_getProof", [ZERO, [f"0x{n:064x}" for n in range(10_000)], "latest"]),
        "eth_call: an endless loop": ("eth_call", [loop, "latest"]),
        "eth_estimateGas: an endless loop": ("eth_estimateGas", [loop, "latest"]),
        "eth_createAccessList: an endless loop": ("eth_createAccessList", [loop, "latest"]),
        "eth_call: endless memory": ("eth_call", [memory, "latest"]),
        "eth_simulateV1 of 10,000 blocks": ("eth_simulateV1", [{"blockStateCalls": [{}] * 10_000}, "latest"]),
        "eth_simulateV1 with a gap of 2^63 blocks":
            ("eth_simulateV1", [{"blockStateCalls": [{"blockOverrides": {"number": "0x7fffffffffffffff"}}]}, "latest"]),
        "eth_newFilter over every block number": ("eth_newFilter", [{"fromBlock": "0x0", "toBlock": last}]),
    }
    for name, (method, params) in cases.items():
        hostile(name, answered, method, params)
    # Every step a line of text: the answer must be cut or refused, within the node's own time limit.
    hostile("debug_traceCall: an endless loop", lambda: answered("debug_traceCall", [loop, "latest", {}], limit=60))


# --- HTTP ---


def transport():
    big = 50_000_000
    hostile("50 MB, announced", oversized_announced, big)
    hostile("50 MB, in chunks", oversized_chunked, big)
    hostile("exabytes, announced", oversized_announced, 10**18)
    hostile("a header of a megabyte", closes_or_refuses, http(b"", "X-Long: " + "x" * 1_000_000))
    hostile("ten thousand headers", closes_or_refuses, http(b"", *(f"X-{n}: 1" for n in range(10_000))))
    hostile("a path of a megabyte", closes_or_refuses, b"POST /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    hostile("a negative length", closes_or_refuses, http(b"", length="-1"))
    hostile("a length that is no number", closes_or_refuses, http(b"{}", length="two"))
    hostile("two lengths", closes_or_refuses, http(one().encode(), "Content-Length: 3"))
    hostile("a bad chunk", closes_or_refuses, chunked(b"zz\r\n{}\r\n0\r\n\r\n"))
    hostile("zeros", closes_or_refuses, bytes(100_000))
    hostile("a TLS greeting", closes_or_refuses, bytes.fromhex("16030100c8010000c40303") + bytes(200) + b"\r\n\r\n")
    hostile("another protocol", closes_or_refuses, b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    hostile("no Host", closes_or_refuses, b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    hostile("PUT", status_is, http(one().encode(), method="PUT"), (405, 404, 501))
    hostile("GET without an upgrade gets an answer", status_is, http(b"", method="GET"), range(200, 500))
    hostile("a content type that needs no preflight", status_is, http(one().encode(), kind="text/plain"), (415,))
    hostile("a foreign Host (DNS rebinding)", status_is, http(one().encode(), host="rebound.example"), (403, 421))
    hostile("Host: localhost is ours", status_is, http(one().encode(), host=f"localhost:{ADDRESS[1]}"), (200,))
    hostile("a foreign origin is allowed nothing", no_cors)
    hostile("Expect: 100-continue", expect_continue)
    hostile("chunks of one byte", single_bytes)
    hostile("pipelining: a hundred requests at once, answers in order", pipelined)
    hostile("a body that ends early", cut_short)
    hostile("three hundred half-open connections", half_open)
    hostile("connections dropped in the middle", dropped)


def too_large(answer):
    """413, or a JSON-RPC error."""
    assert answer is not None, "closed without an answer"
    status, _, body = answer
    assert status == 413 or code_of(json.loads(body)) in (REQUEST, PARSE, -32005, -32003), f"HTTP {status}"


def oversized_announced(size):
    with Connection() as connection:
        connection.send(http(b'["', length=size))
        for _ in range(min(size, 50_000_000) // 1_000_000):
            if not connection.send(b"a" * 1_000_000):
                break
        too_large(connection.response())


def oversized_chunked(size):
    with Connection() as connection:
        connection.send(chunked(b'2\r\n["\r\n'))
        chunk = b"f4240\r\n" + b"a" * 1_000_000 + b"\r\n"
        if all(connection.send(chunk) for _ in range(size // 1_000_000)):
            connection.send(b"0\r\n\r\n")
        too_large(connection.response())


def status_is(data, statuses):
    with Connection() as connection:
        connection.send(data)
        answer = connection.response()
        assert answer is not None, "closed without an answer"
        assert answer[0] in statuses, f"HTTP {answer[0]}"


def no_cors():
    preflight = http(b"", "Origin: http://evil.example", "Access-Control-Request-Method: POST",
                     "Access-Control-Request-Headers: content-type", method="OPTIONS")
    for data in (preflight, http(one().encode(), "Origin: http://evil.example")):
        with Connection() as connection:
            connection.send(data)
            allowed = connection.response()[1].get("access-control-allow-origin", "")
            assert allowed not in ("*", "http://evil.example"), f"allows {allowed}"


def expect_continue():
    body = one().encode()
    with Connection() as connection:
        connection.send(http(b"", "Expect: 100-continue", length=len(body)))
        time.sleep(0.1)
        connection.socket.sendall(body)
        status, _, answer = connection.response()
        assert status == 200 and "result" in json.loads(answer)


def single_bytes():
    body = b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in one().encode())
    with Connection() as connection:
        connection.send(chunked(body + b"0\r\n\r\n"))
        assert "result" in json.loads(connection.response()[2])


def pipelined():
    with Connection() as connection:
        connection.socket.sendall(b"".join(http(one(identity=number).encode()) for number in range(100)))
        ids = [json.loads(connection.response()[2])["id"] for _ in range(100)]
        assert ids == list(range(100)), ids


def cut_short():
    with Connection() as connection:
        connection.socket.sendall(http(b'{"jsonrpc"', length=1000))
        connection.socket.shutdown(socket.SHUT_WR)
        turned_away(connection.response())


def half_open():
    """Clients that begin and say no more: others are still served."""
    stalled = [socket.create_connection(ADDRESS, timeout=LIMIT) for _ in range(300)]
    try:
        for number, connection in enumerate(stalled):
            connection.sendall([b"", b"POST / HTTP/1.1\r\nHost:", http(b'{"json', length=100)][number % 3])
        for _ in range(10):
            alive()
    finally:
        for connection in stalled:
            connection.close()


def dropped():
    for number in range(200):
        connection = socket.create_connection(ADDRESS, timeout=LIMIT)
        connection.sendall(http(one().encode())[: 20 + number])
        # Closes with a reset rather than in peace.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


# --- WebSocket ---


def opened():
    """A WebSocket that is open."""
    client = Socket()
    assert client.status == 101, f"HTTP {client.status}"
    return client


def ws_ends(*frames, **options):
    """Frames after which the server must close, in time."""
    with opened() as client:
        for frame in frames:
            client.frame(*frame, **options)
        while True:
            got = client.message()
            if got is None or got[0] == 8:
                return
            code_of(json.loads(got[1]))  # or say what is wrong, and then go on
            return


def websocket():
    hostile("WebSocket: an upgrade without a key", lambda: handshake(with_key=False))
    hostile("WebSocket: an unknown version", lambda: handshake(version="99"))
    hostile("WebSocket: malformed JSON, and the connection goes on", ws_errors)
    hostile("WebSocket: a request in fragments, a ping between", fragments)
    hostile("WebSocket: a frame without a mask", lambda: ws_ends((one().encode(),), mask=False))
    hostile("WebSocket: a frame of 2^63 - 1 bytes", lambda: ws_ends((b"x",), length=(1 << 63) - 1))
    hostile("WebSocket: a frame of 50 MB", ws_big_frame)
    hostile("WebSocket: 50 MB in fragments", ws_big_message)
    hostile("WebSocket: a reserved opcode", lambda: ws_ends((b"x", 3)))
    hostile("WebSocket: reserved bits", lambda: ws_ends((b"x",), reserved=7))
    hostile("WebSocket: a ping of 10,000 bytes", lambda: ws_ends((b"x" * 10_000, 9)))
    hostile("WebSocket: a continuation of nothing", lambda: ws_ends((b"x", 0)))
    hostile("WebSocket: invalid UTF-8", lambda: ws_ends((b"\xff\xfe\xc0",)))
    hostile("WebSocket: binary garbage", lambda: ws_ends((os.urandom(1000), 2)))
    hostile("WebSocket: bad subscriptions", bad_subscriptions)
    hostile("WebSocket: 20,000 subscriptions on one connection", many_subscriptions)
    hostile("WebSocket: a hundred subscribers that vanish", vanishing)


def handshake(**options):
    with Socket(**options) as client:
        assert client.status in CLIENT_ERROR, f"HTTP {client.status}"


def ws_errors():
    with opened() as client:
        assert code_of(client.ask("{")) == PARSE
        assert code_of(client.ask("1")) == REQUEST
        assert code_of(client.ask("[" * 100_000)) in (PARSE, REQUEST)
        assert code_of(client.ask(one("eth_nothing"))) == METHOD
        assert "result" in client.ask(one())


def fragments():
    body = one().encode()
    with opened() as client:
        client.frame(body[:10], final=False)
        client.frame(b"still there", opcode=9)
        client.frame(body[10:20], opcode=0, final=False)
        client.frame(body[20:], opcode=0)
        kinds = {}
        while len(kinds) < 2:
            opcode, payload = client.message()
            kinds[opcode] = payload
        assert kinds[10] == b"still there"
        assert "result" in json.loads(kinds[1])


def ws_big_frame():
    with opened() as client:
        client.frame(b'["', length=50_000_000)
        for _ in range(50):
            if not client.send(b"a" * 1_000_000):
                break
        ws_refusal(client)


def ws_big_message():
    with opened() as client:
        client.frame(b'["', final=False)
        for _ in range(50):
            if not client.frame(b"a" * 1_000_000, opcode=0, final=False):
                break
        ws_refusal(client)


def ws_refusal(client):
    """A close, or an error; never a wait for more."""
    got = client.message()
    assert got is None or got[0] == 8 or code_of(json.loads(got[1])) in (REQUEST, PARSE, -32005), got


def bad_subscriptions():
    with opened() as client:
        for params in ['["nothing"]', "[]", "[1]", '["logs", {"address": "0x12"}]', '["logs", {"topics": 5}]']:
            assert code_of(client.ask(one("eth_subscribe", params=params))) in (PARAMS, METHOD, -32000), params
        answer = client.ask(one("eth_unsubscribe", params='["0xdead"]'))
        assert answer.get("result") is False or code_of(answer) in (PARAMS, -32000), answer


def many_subscriptions():
    """Bounded: an error comes before the last."""
    with opened() as client:
        for _ in range(20_000):
            if "error" in client.ask(one("eth_subscribe", params='["newHeads"]')):
                return
    raise AssertionError("20,000 subscriptions were granted")


def vanishing():
    clients = [opened() for _ in range(100)]
    for client in clients:
        client.ask(one("eth_subscribe", params='["newHeads"]'))
        client.ask(one("eth_subscribe", params='["newPendingTransactions"]'))
    for client in clients:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()


# --- IPC ---


def ipc():
    if not IPC_PATH:
        print("skip  IPC: no path given")
        return
    for name, text in {"malformed JSON": b"}\n", "100,000 open brackets": b"[" * 100_000 + b"\n", "invalid UTF-8": b'{"\xff\xfe":1}\n'}.items():
        hostile(f"IPC: {name}", ipc_refused, text)
    hostile("IPC: 50 MB without an end", ipc_refused, b'["' + b"a" * 50_000_000, False)
    hostile("IPC: requests back to back, without separators", ipc_joined)
    hostile("IPC: a request cut short", ipc_cut)


def ipc_refused(data, cut=True):
    """An error, or the end of the connection. With `cut` the client says that no more is to come."""
    with Pipe() as pipe:
        pipe.send(data)
        if cut:
            pipe.socket.shutdown(socket.SHUT_WR)
        answer = pipe.answer()
        assert answer is None or code_of(answer) in (PARSE, REQUEST, -32005), answer


def ipc_joined():
    with Pipe() as pipe:
        pipe.send("".join(one(identity=number) for number in range(50)).encode())
        assert sorted(pipe.answer()["id"] for _ in range(50)) == list(range(50))


def ipc_cut():
    with Pipe() as pipe:
        pipe.send(one().encode()[:-4])
    with Pipe() as pipe:
        pipe.send(one().encode() + b"\n")
        assert "result" in pipe.answer()


def memory():
    """The node's peak. It is small on a young chain, so what it grew to is what these requests made of it."""
    lines = Path(f"/proc/{NODE_PID}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    assert peak < 1 << 20, f"{peak >> 10} MiB"


def main():
    check("the node answers before", alive)
    malformed()
    invalid_requests()
    batches()
    parameters()
    transport()
    websocket()
    ipc()
    excess()
    check("the node answers afterwards", alive)
    if NODE_PID and Path("/proc/self/status").exists():
        check("the node's memory stayed below 1 GiB", memory)
    else:
        print("skip  memory: the node is not ours")
    finish()


main()
