#!/usr/bin/env bash
# Seven validators certify a live chain, in one process and in seven, and L1 takes its batches with their certificates; it stops and goes on; one leaves and
# another registers on L1. It starts its node itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs nodes of its own: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh
# shellcheck source=../lib/nodes.sh
source lib/nodes.sh

data=$E2E_WORK/validators someone=0x00000000000000000000000000000000000f0301
mkdir "$data"
l2=http://127.0.0.1:$(port) l1=http://127.0.0.1:$(port)
start() { # start FLAG...
  "$JOVE_BIN" dev --validators 7 --epoch-length 25 "$@" --datadir "$data/chain" --http-port "${l2##*:}" --l1-http-port "${l1##*:}" --enclave false >>"$data/log" 2>&1 &
  node=$!
  pids+=("$node")
  until_true 240 serves "$l2" || fail "it starts" "$(tail -5 "$data/log")"
}
send() { hash=$(js '$.transactionHash' "$(sent --rpc-url "$l2" --private-key "$(key 1)" "$@")"); [[ $hash == 0x* ]]; }
certified() { [[ $(js '$?.rungs?.certified?.height > 0' "$(cast rpc --rpc-url "$l2" jove_getFinality "$1")") == true ]]; }
status() { js "\$.status.$1" "$(cast rpc --rpc-url "$l2" jove_validators)"; }

start
if until_true 120 send --value 1 "$someone"; then pass "a transfer has its receipt"; else fail "a transfer" "$(tail -5 "$data/log")"; fi
if until_true 60 certified "$hash"; then pass "a quorum certifies it"; else fail "it is certified" "$(cast rpc --rpc-url "$l2" jove_validators)"; fi
number=$(js 'Number($.blockNumber)' "$(cast receipt --json --rpc-url "$l2" "$hash")")
checkpoint=$(cast rpc --rpc-url "$l2" jove_getCheckpoint "{\"blockNumber\":\"$(printf '0x%x' "$number")\"}")
is "its checkpoint has a FinalCert of a quorum" true "$(js '$.certificate.signers.length >= 5 && $.lastBlock >= '"$number" "$checkpoint")"
is "the set has seven validators" 7 "$(js '$.validators.length' "$(cast rpc --rpc-url "$l2" jove_validators)")"
is "nobody halted" null "$(status halted)"

for round in 1 2 3; do
  until_true 30 send --value 1 "$someone" || fail "transfer $round" "$hash"
  until_true 60 certified "$hash" || fail "transfer $round is certified" "$(cast rpc --rpc-url "$l2" jove_validators)"
done
pass "three more, one after another"
if until_true 180 is_rung "$hash" final; then pass "and they are final on L1"; else fail "final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi

# What L1 has of it.
chain=$data/chain/chain.json
contract=$(js '$.settlement.rollup' "$(cat "$chain")") authority=$(js '$.settlement.authority' "$(cat "$chain")") vault=$(js '$.settlement.rewardVault' "$(cat "$chain")")
registry() { cast call --rpc-url "$l1" "$authority" "$@" 2>&1; }
is "the rollup's authority is the validators'" "$authority" "$(rollup 'authority()(address)')"
is "the seven are registered" 7 "$(registry 'size()(uint256)')"
batch=$(cast rpc --rpc-url "$l2" jove_getBatch 1)
commit=$(js '$.committed.transactionHash' "$batch")
signature='commit((bytes32,bytes32,uint64,uint64,uint64,uint64,bytes32),bytes)'
certificate=$(cast decode-calldata "$signature" "$(js '$.input' "$(cast tx --json --rpc-url "$l1" "$commit")")" 2>&1 | tail -1)
is "batch 1 came with a FinalCert" true "$([[ ${#certificate} -gt 900 ]] && echo true)"
zero=0x0000000000000000000000000000000000000000000000000000000000000000
fails "a batch without one is refused" "MalformedCertificate|$(cast sig 'MalformedCertificate()')" \
  cast call --rpc-url "$l1" --from "$(cast wallet address "$(key 9)")" "$contract" "$signature" "($zero,$zero,1,1,1,1,$zero)" 0x
set_hash=$(js '$.validatorSet.hash' "$checkpoint")
like "its set's keys are in code" '^0x[0-9a-f]{40}' "$(registry 'keysOf(bytes32)(address,address,address)' "$set_hash" | head -1)"
ended() { [[ $(registry 'epochAt(uint64,uint64)((uint48,uint48,address,bytes32))' 0 "$1") =~ ^\([0-9]+,\ [1-9] ]]; }
busy_until() { local end=$((SECONDS + 4 * $1)); shift; while ((SECONDS < end)); do "$@" && return 0; send --value 1 "$someone"; done; return 1; }
if busy_until 180 ended 1; then pass "epochs end on L1"; else fail "epoch 1 on L1" "$(registry 'epochAt(uint64,uint64)((uint48,uint48,address,bytes32))' 0 1)"; fi
paid() { [[ $(balance "$l1" "$vault") != 1000000000000000000 ]]; }
if busy_until 180 paid; then pass "a final batch's proposer is paid"; else fail "rewards" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi

# Who validates changes on L1, and two epochs later here.
validator() { "$JOVE_BIN" validator "$1" --chain "$chain" --l1-url "$l1" --mnemonic-index 6 "${@:2}"; }
succeeds "the last leaves" validator exit --datadir "$data/chain/validators/6"
"$JOVE_BIN" validator init --datadir "$data/new" >"$data/new.json"
succeeds "another registers" validator register --datadir "$data/new" --bond 1
fails "its keys are its own" "NotAdmitted" validator register --datadir "$data/new" --bond 1
ids() { js '$.validators.map(one => one.id).join()' "$(cast rpc --rpc-url "$l2" jove_validators)"; }
new=$(js '$.id' "$(cat "$data/new.json")") old=$(js '$.validators.genesis[6].id' "$(cat "$chain")")
changed() { local now; now=$(ids); [[ $now == *"$new"* && $now != *"$old"* ]]; }
if busy_until 240 changed; then pass "the set has changed, two epochs on"; else fail "the set" "$(ids), without $old, with $new"; fi
if until_true 60 send --value 1 "$someone" && until_true 30 certified "$hash"; then pass "and certifies"; else fail "certified by the new set" "$(cast rpc --rpc-url "$l2" jove_validators)"; fi
if busy_until 180 is_rung "$hash" final; then pass "and L1 takes its certificates"; else fail "final by the new set" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
before=$(cat "$chain")

height=$(status height)
kill -KILL "$node"; wait "$node" 2>/dev/null
start
if until_true 60 send --value 1 "$someone"; then pass "killed and started again, it takes a transfer"; else fail "after a kill" "$(tail -5 "$data/log")"; fi
if until_true 30 certified "$hash"; then pass "and certifies it"; else fail "certified after a kill" "$(cast rpc --rpc-url "$l2" jove_validators)"; fi
is "the chain file is what it was" "$before" "$(cat "$chain")"
is "at a greater height" true "$([[ $(status height) -gt $height ]] && echo true)"
is "all transfers are there" true "$([[ $(balance "$l2" "$someone") -ge 5 ]] && echo true)"

# The same chain, each validator in a process of its own.
kill -INT "$node"; wait "$node"
is "it stops cleanly" 0 $?
start --processes
six() { children=$(cat /proc/"$node"/task/*/children); [[ $(wc -w <<<"$children") == 6 ]]; }
until_true 30 six
is "six validators are processes of their own" 6 "$(wc -w <<<"$children")"
if until_true 120 send --value 1 "$someone"; then pass "a transfer has its receipt"; else fail "a transfer, of processes" "$(tail -5 "$data/log")"; fi
if until_true 30 certified "$hash"; then pass "a quorum of processes certifies it"; else fail "certified by processes" "$(cast rpc --rpc-url "$l2" jove_validators)"; fi
signers=$(js '$.certificate.signers.length' "$(cast rpc --rpc-url "$l2" jove_getCheckpoint latest)")
is "five have signed at least" true "$([[ $signers -ge 5 ]] && echo true)"
for one in 1 2 3 4 5 6; do [[ -d $data/chain/validators/$one/avc && -d $data/chain/validators/$one/db ]] || fail "validator $one" "no data of its own"; done
kill -KILL "$node"; wait "$node" 2>/dev/null
gone() { for one in $children; do [[ ! -d /proc/$one ]] || return 1; done; }
if until_true 20 gone; then pass "killed, it takes its processes with it"; else fail "processes outlive it" "$children"; fi
finish
