#!/usr/bin/env bash
# A sequencer that censors: it is gone, and its key commits garbage which claims to have consumed a message. A stranger with a full node and a key of
# its own proves that the batches are invalid, and once the message has waited for T2 commits it; then the sequencer comes back and follows.
# Proofs are those of test verifiers. It starts its nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs nodes of its own: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh
# shellcheck source=../lib/nodes.sh
source lib/nodes.sh
# shellcheck source=../lib/garbage.sh
source lib/garbage.sh

is_final() { [[ $(js '$.rung' "$(cast rpc --rpc-url "$1" jove_getFinality "$2")") == final ]]; }

data=$E2E_WORK/recovery l1=http://127.0.0.1:$(port) l2=http://127.0.0.1:$(port) stranger=http://127.0.0.1:$(port)
mkdir "$data"
JOVE_L1_LOG=warn "$JOVE_BIN" l1 --datadir "$data/l1" --http-port "${l1##*:}" >"$data/l1.log" 2>&1 &
pids+=($!)
until_true 30 serves "$l1"
operator=$(key 9)
succeeds "the contracts, with short delays" env JOVE_PRIVATE_KEY="$operator" "$JOVE_BIN" deploy --l1-url "$l1" --out "$data/chain.json" \
  --message-delay 45s --silence-delay 1h --drop-delay 1h --single-proof-delay 10m --escape-delay 1h
contract=$(js '$.settlement.rollup' "$(cat "$data/chain.json")") inbox=$(js '$.settlement.inbox' "$(cat "$data/chain.json")")
sequence() {
  JOVE_COMMIT_KEY=$operator "$JOVE_BIN" node --chain "$data/chain.json" --datadir "$data/l2" --http-port "${l2##*:}" --l1-url "$l1" \
    --commit-deadline 8s >>"$data/l2.log" 2>&1 &
  sequencer=$!
  pids+=("$sequencer")
}
sequence
JOVE_PROVE_KEY=$(key 7) JOVE_RESCUE_KEY=$(key 6) "$JOVE_BIN" node --chain "$data/chain.json" --role full --from-l1 --datadir "$data/stranger" \
  --http-port "${stranger##*:}" --l1-url "$l1" >"$data/stranger.log" 2>&1 &
pids+=($!)
until_true 30 serves "$l2" || fail "the sequencer starts" "$(tail -3 "$data/l2.log")"
until_true 30 serves "$stranger" || fail "the stranger's node starts" "$(tail -3 "$data/stranger.log")"

first=0x00000000000000000000000000000000000f00e1 forced=0x00000000000000000000000000000000000f00e2 last=0x00000000000000000000000000000000000f00e3
# It takes transactions once it knows an L1 block.
transfer() { hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --private-key "$(key 1)" --value 1ether "$first")"); [[ $hash == 0x* ]]; }
until_true 60 transfer || fail "a transfer" "$hash"
if until_true 150 is_final "$stranger" "$hash"; then pass "a transfer is final by the stranger's proofs"; else
  fail "a transfer is final" "$(cast rpc --rpc-url "$stranger" jove_syncStatus)"; fi

# What the sequencer executed and never committed; then it is gone.
hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --private-key "$(key 1)" --value 2ether "$last")")
kill -KILL "$sequencer"; wait "$sequencer" 2>/dev/null

# A message that the sequencer's key censors: each of its batches says that it consumed it, and none can be decoded.
cast send --rpc-url "$l1" --private-key "$(key 2)" --value 0.1ether "$inbox" \
  'send(address,bool,uint256,uint256,uint64,bytes)' "$forced" false 0 3ether 21000 0x >/dev/null || fail "forced" "not queued"
censors() { garbage "$l1" "$contract" "$inbox" "$operator" "$data/garbage"; }
# The sequencer's last commit may still be on its way.
if until_true 20 censors; then pass "the sequencer's key commits garbage"; else fail "the sequencer's key commits garbage" "$(censors 2>&1)"; fi
is "the message is not consumed" 0 "$(rollup 'finalMessage()(uint64)')"
(while :; do censors; sleep 1; done >/dev/null 2>&1) & censor=$!
pids+=("$censor")
refused() { grep -q 'settlement is held up.*is invalid' "$data/stranger.log"; }
if until_true 40 refused; then pass "the stranger's node calls it invalid"; else fail "the stranger's node" "$(cast rpc --rpc-url "$stranger" jove_syncStatus)"; fi

rescued() { [[ $(balance "$stranger" "$forced") == 3000000000000000000 ]]; }
if until_true 90 rescued; then pass "the message is consumed, by the stranger"; else fail "the message is consumed" "$(tail -5 "$data/stranger.log")"; fi
begun() { [[ $(rollup 'era()(uint32)') == 1 ]]; }
until_true 30 begun
is "by a batch of messages alone, in a new era" 1 "$(rollup 'era()(uint32)')"
kill "$censor"; wait "$censor" 2>/dev/null
final() { [[ $(rollup 'finalMessage()(uint64)') == 1 ]]; }
if until_true 60 final; then pass "and it is final"; else fail "and it is final" "$(cast rpc --rpc-url "$stranger" jove_syncStatus)"; fi
dropped() { [[ $(rollup 'headIndex()(uint64)') == $(rollup 'finalIndex()(uint64)') ]]; }
if until_true 60 dropped; then pass "all garbage is dropped"; else fail "all garbage is dropped" "$(tail -5 "$data/stranger.log")"; fi

# The sequencer comes back with its own block, and follows what was committed in its place.
sequence
until_true 30 serves "$l2"
followed() { [[ $(balance "$l2" "$forced") == 3000000000000000000 && $(balance "$l2" "$last") == 2000000000000000000 ]]; }
if until_true 60 followed; then pass "the sequencer follows, and its own transaction is there again"; else
  fail "the sequencer follows" "$(tail -5 "$data/l2.log")"; fi
if until_true 90 is_final "$stranger" "$hash"; then pass "which becomes final"; else fail "which becomes final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
number=$(cast block-number --rpc-url "$stranger")
is "both have the same chain" "$(cast block --rpc-url "$l2" "$number" --field hash)" "$(cast block --rpc-url "$stranger" "$number" --field hash)"
finish
