#!/usr/bin/env bash
# Batches that are dropped: valid ones, which nobody proved in time, are committed again; one of random bytes that names a block of the chain is proven
# invalid. Proofs are those of test verifiers. It starts its nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs nodes of its own: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh
# shellcheck source=../lib/nodes.sh
source lib/nodes.sh
# shellcheck source=../lib/garbage.sh
source lib/garbage.sh

data=$E2E_WORK/drops someone=0x00000000000000000000000000000000000f0201
mkdir "$data"
for name in l1 l2; do declare "$name=http://127.0.0.1:$(port)"; done
JOVE_L1_LOG=warn "$JOVE_BIN" l1 --datadir "$data/l1" --http-port "${l1##*:}" >"$data/l1.log" 2>&1 &
pids+=($!)
until_true 30 serves "$l1"
operator=$(key 9)
succeeds "the contracts, with a short delay" env JOVE_PRIVATE_KEY="$operator" "$JOVE_BIN" deploy --l1-url "$l1" --out "$data/chain.json" \
  --message-delay 1h --silence-delay 1h --drop-delay 10s --single-proof-delay 10m --escape-delay 1h
contract=$(js '$.settlement.rollup' "$(cat "$data/chain.json")") inbox=$(js '$.settlement.inbox' "$(cat "$data/chain.json")")
sequence() { # sequence DEADLINE [PROVE_KEY]
  env JOVE_COMMIT_KEY="$operator" ${2:+JOVE_PROVE_KEY="$2"} "$JOVE_BIN" node --chain "$data/chain.json" --datadir "$data/l2" --http-port "${l2##*:}" \
    --l1-url "$l1" --commit-deadline "$1" --blob-archive >>"$data/l2.log" 2>&1 &
  sequencer=$!
  pids+=("$sequencer")
  until_true 30 serves "$l2" || fail "the sequencer starts" "$(tail -3 "$data/l2.log")"
}
send() { hash=$(js '$.transactionHash' "$(sent --rpc-url "$l2" --private-key "$(key 1)" "$@")"); [[ $hash == 0x* ]]; }
# More than a batch holds: nothing but that has it committed.
sequence 1h
until_true 60 send --value 1 "$someone" || fail "a transfer" "$hash"
first=$hash
for _ in $(seq 16); do send "$someone" "0x$(openssl rand -hex 60000)" || fail "a large transaction" "$hash"; done
committed() { [[ $(rollup 'headIndex()(uint64)') -ge 1 ]]; }
until_true 60 committed || fail "it is committed" "$(tail -3 "$data/l2.log")"
batch() { js "$1" "$(cast rpc --rpc-url "$l2" jove_getBatch 1)"; }
full() { [[ $(batch '$?.blobs.length') == 6 ]]; }
if until_true 30 full; then pass "a full batch is committed"; else fail "a full batch" "$(cast rpc --rpc-url "$l2" jove_getBatch 1)"; fi
last=$(batch '$.header.lastBlock') where=$(batch '$.committed.transactionHash')
dropped() { cast send --rpc-url "$l1" --private-key "$(key 2)" "$contract" 'drop()'; }
if until_true 60 dropped; then pass "nobody proved it: it is dropped"; else fail "it is dropped" "$(dropped 2>&1)"; fi
if until_true 60 committed; then pass "and committed again"; else fail "committed again" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
again() { [[ $(batch "\$?.blobs.length === 6 && \$.header.lastBlock >= $last && \$.committed.transactionHash !== '$where'") == true ]]; }
if until_true 30 again; then pass "a full one, with the same blocks"; else fail "the same blocks" "$(cast rpc --rpc-url "$l2" jove_getBatch 1)"; fi

# A block that is not committed; the key commits garbage in its name.
kill -INT "$sequencer"; wait "$sequencer" 2>/dev/null
sequence 12s "$(key 7)"
if until_true 120 is_rung "$first" final; then pass "once it is proven, it is final"; else fail "it is final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
all() { [[ $(js 'Number($.l2.safe) == $.l2.head' "$(cast rpc --rpc-url "$l2" jove_syncStatus)") == true ]]; }
until_true 60 all
send --value 1 "$someone" || fail "a transfer" "$hash"
block=$(cast block --json --rpc-url "$l2" latest)
kill -KILL "$sequencer"; wait "$sequencer" 2>/dev/null
taken() { garbage "$l1" "$contract" "$inbox" "$operator" "$data/garbage" "$(js 'Number($.number)' "$block")" "$(js '$.hash' "$block")"; }
if until_true 20 taken; then pass "the sequencer's key commits garbage that names its last block"; else fail "garbage" "$(taken 2>&1)"; fi
index=$(rollup 'headIndex()(uint64)')
sequence 12s "$(key 7)"
invalid() { grep -q "a batch on L1 is invalid" "$data/l2.log"; }
if until_true 60 invalid; then pass "its node reads the blob, and calls it invalid"; else fail "it is invalid" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
finals() { [[ $(rollup 'finalIndex()(uint64)') -ge $index ]]; }
if until_true 120 finals; then pass "it is dropped, and another batch final in its place"; else fail "another batch is final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
if until_true 120 is_rung "$hash" final; then pass "with the block"; else fail "with the block" "$(rung "$hash")"; fi
# A beacon node may have let go of the blobs.
follower=http://127.0.0.1:$(port)
"$JOVE_BIN" node --chain "$data/chain.json" --role full --from-l1 --datadir "$data/full" --http-port "${follower##*:}" --l1-url "$l1" \
  --l1-beacon-url "$l2" >"$data/full.log" 2>&1 &
pids+=($!)
number=$(cast receipt --rpc-url "$l2" "$hash" blockNumber)
has() { [[ $(cast block-number --rpc-url "$follower") -ge $number ]]; }
until_true 60 has
is "and the chain can be rebuilt from L1, with the blobs that the sequencer kept" "$(cast block --rpc-url "$l2" "$number" --field hash)" "$(cast block --rpc-url "$follower" "$number" --field hash 2>&1)"
finish
