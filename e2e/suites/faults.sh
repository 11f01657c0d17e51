#!/usr/bin/env bash
# Settlement while everything between it and L1 goes wrong: transactions that are lost, late, sent twice, displaced; proofs that another prover had
# first; a pause; a reorganisation; a backlog before an overdue message; a sequencer whose valid batches leave a message out. Proofs are those
# of test verifiers. It starts its nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs nodes of its own: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh
# shellcheck source=../lib/nodes.sh
source lib/nodes.sh

# has_rung HASH RUNG: it stands on L1, where `final` is the contract's word; the node's waits for L1's own finality.
has_rung() {
  local finality
  finality=$(cast rpc --rpc-url "$l2" jove_getFinality "$1")
  if [[ $2 == final ]]; then [[ $(rollup 'finalIndex()(uint64)') -ge $(js '$.batch ?? 1e9' "$finality") ]]
  else [[ $(js "Boolean(\$.rungs.$2)" "$finality") == true ]]; fi
}
stages() { js 'JSON.stringify($.stages)' "$(cast rpc --rpc-url "$1" jove_syncStatus)"; }
transfer() { js '$.transactionHash' "$(sent --rpc-url "$l2" --private-key "$(key 1)" --value 1 "$someone")"; }
begins() { hash=$(transfer); [[ $hash == 0x* ]]; }
some() { begins || fail "a transfer" "$hash"; }
# reaches NAME HASH RUNG: within two minutes.
reaches() { if until_true 120 has_rung "$2" "$3"; then pass "$1"; else fail "$1" "$(stages "$l2") $(stages "$first")"; fi; }
mode() { curl -sf -X PUT --data "$2" "$1/mode" >/dev/null || fail "the proxy" "$2"; }
seen() { [[ $(curl -sf "$1/seen") -ge $2 ]]; }

someone=0x00000000000000000000000000000000000f00f1 forced=0x00000000000000000000000000000000000f00f2 overdue=0x00000000000000000000000000000000000f00f3
data=$E2E_WORK/faults
mkdir "$data"
for name in l1 l2 first second to_commit to_prove; do declare "$name=http://127.0.0.1:$(port)"; done
JOVE_L1_LOG=warn "$JOVE_BIN" l1 --datadir "$data/l1" --http-port "${l1##*:}" --safe-depth 40 --finalized-depth 44 >"$data/l1.log" 2>&1 &
pids+=($!)
until_true 30 serves "$l1"
for proxy in "$to_commit" "$to_prove"; do
  node lib/l1-proxy.mjs "${proxy##*:}" "$l1" &
  pids+=($!)
done
operator=$(key 9)
succeeds "the contracts, with short delays" env JOVE_PRIVATE_KEY="$operator" "$JOVE_BIN" deploy --l1-url "$l1" --out "$data/chain.json" \
  --message-delay 30s --silence-delay 1h --drop-delay 1h --single-proof-delay 10m --escape-delay 1h
settlement() { js "\$.settlement.$1" "$(cat "$data/chain.json")"; }
contract=$(settlement rollup) inbox=$(settlement inbox)

sequence() { # sequence DEPTH [COMMIT_KEY]
  env ${2:+JOVE_COMMIT_KEY="$2"} "$JOVE_BIN" node --chain "$data/chain.json" --datadir "$data/l2" --http-port "${l2##*:}" --l1-url "$to_commit" \
    --l1-depth "$1" --commit-deadline 4s --heartbeat 1s >>"$data/l2.log" 2>&1 &
  sequencer=$!
  pids+=("$sequencer")
}
follow() { # follow NAME L1 PROVE_KEY [RESCUE_KEY]
  env JOVE_PROVE_KEY="$(key "$3")" ${4:+JOVE_RESCUE_KEY="$(key "$4")"} "$JOVE_BIN" node --chain "$data/chain.json" --role full --from-l1 --l1-depth 3 \
    --datadir "$data/$1" --http-port "${!1##*:}" --l1-url "$2" >>"$data/$1.log" 2>&1 &
  prover=$!
  pids+=("$prover")
  declare -g "pid_$1=$prover"
}
sequence 3 "$operator"
follow first "$to_prove" 7 6
for node in "$l2" "$first"; do until_true 30 serves "$node" || fail "a node starts" "$(tail -3 "$data"/{l2,first}.log)"; done
until_true 60 begins || fail "a transfer" "$hash"
reaches "before: a transfer is final" "$hash" final

# --- commits ---
for fault in drop hold error twice; do
  mode "$to_commit" "$fault"
  some
  until_true 60 seen "$to_commit" 1 || fail "$fault: a commit is sent" "$(stages "$l2")"
  [[ $fault != drop ]] || until_true 60 seen "$to_commit" 2 || fail "drop: it is sent again" "$(stages "$l2")"
  [[ $fault != twice ]] || reaches "one that comes twice" "$hash" committed
  mode "$to_commit" pass
  case $fault in
    drop) reaches "a commit that was lost arrives" "$hash" committed ;;
    hold) reaches "one that was late, too" "$hash" committed ;;
    error) reaches "and one that a node denied, but took" "$hash" committed ;;
    twice) reaches "counts once" "$hash" final ;;
  esac
done

mode "$to_commit" drop
some
until_true 60 seen "$to_commit" 1
succeeds "another transaction takes the commit's nonce" cast send --rpc-url "$l1" --private-key "$operator" --value 1 "$someone"
mode "$to_commit" pass
reaches "and the batch is committed by the next" "$hash" committed

# --- proofs ---
mode "$to_prove" hold
follow second "$l1" 5 4
until_true 60 serves "$second"
some
reaches "where one prover's proofs are late, another's count" "$hash" final
kill -INT "$prover"; wait "$prover" 2>/dev/null
reverted() { [[ $(cast nonce --rpc-url "$l1" "$(cast wallet address --private-key "$(key 7)")") -gt $nonce ]]; }
nonce=$(cast nonce --rpc-url "$l1" "$(cast wallet address --private-key "$(key 7)")")
mode "$to_prove" pass
if until_true 30 reverted; then pass "then the late ones come, in vain"; else fail "the late proofs" "$(stages "$first")"; fi
some
reaches "and that prover goes on alone" "$hash" final

pause=$(settlement pause)
succeeds "a pause" cast send --rpc-url "$l1" --private-key "$operator" "$pause" 'pause(uint256)' 3600
some
reaches "during it, a batch is attested" "$hash" attested
reaches "and proven" "$hash" proven
sleep 3
if has_rung "$hash" final; then fail "but not final" "it is"; else pass "but not final"; fi
succeeds "its end" cast send --rpc-url "$l1" --private-key "$operator" "$pause" 'unpause()'
reaches "then it is final, though nobody sends a proof" "$hash" final

# --- L1 takes back what it had: not the pause, which nobody sends again ---
ended=$(cast block-number --rpc-url "$l1")
deep() { [[ $(cast block-number --rpc-url "$l1") -gt $((ended + 13)) ]]; }
until_true 60 deep || fail "L1 goes on" "$(cast block-number --rpc-url "$l1")"
some
reaches "before a reorganisation: final" "$hash" final
block=$(cast receipt --rpc-url "$l2" "$hash" blockHash)
for _ in 1 2 3; do
  cast rpc --rpc-url "$l1" anvil_reorg 12 '[]' >/dev/null
  sleep 1
done
some
reaches "after three of them: what comes next is final" "$hash" final
number=$(cast receipt --rpc-url "$l2" "$hash" blockNumber)
is "both nodes have one chain" "$(cast block --rpc-url "$l2" "$number" --field hash)" "$(cast block --rpc-url "$first" "$number" --field hash)"

# --- more than a batch that was not committed, before a message that is overdue by then ---
kill -INT "$sequencer" "$pid_first"; wait "$sequencer" "$pid_first" 2>/dev/null
sequence 3
until_true 30 serves "$l2" || fail "a sequencer that does not commit" "$(tail -3 "$data/l2.log")"
large() { hash=$(js '$.transactionHash' "$(sent --rpc-url "$l2" --private-key "$(key 1)" "$someone" "0x$(openssl rand -hex 60000)")"); [[ $hash == 0x* ]]; }
for _ in $(seq 16); do large || fail "a large transaction" "$hash"; done
cast send --rpc-url "$l1" --private-key "$(key 2)" --value 0.1ether "$inbox" \
  'send(address,bool,uint256,uint256,uint64,bytes)' "$overdue" false 0 2ether 21000 0x >/dev/null || fail "a message" "not queued"
has_message() { [[ $(balance "$l2" "$overdue") == 2000000000000000000 ]]; }
if until_true 60 has_message; then pass "a message comes after more than a batch"; else fail "the message" "$(stages "$l2")"; fi
sleep 32
kill -INT "$sequencer"; wait "$sequencer" 2>/dev/null
sequence 3 "$operator"
follow first "$to_prove" 7 # and does not step in
until_true 30 serves "$l2" || fail "the sequencer" "$(tail -3 "$data/l2.log")"
reaches "once it is overdue its block comes first, and what came before again after it" "$hash" final
withdrawn() { grep -q "leave an overdue message waiting" "$data/l2.log"; }
if withdrawn; then pass "for which blocks were withdrawn"; else fail "blocks were withdrawn" "$(grep -c . "$data/l2.log") lines"; fi
is "the message was consumed once" 2000000000000000000 "$(balance "$l2" "$overdue")"

# --- a sequencer that leaves a message out, and whose batches are valid ---
kill -INT "$sequencer" "$pid_first"; wait "$sequencer" "$pid_first" 2>/dev/null
sequence 100000 "$operator"
follow first "$to_prove" 7 6
until_true 30 serves "$l2"
until_true 60 serves "$first"
follow second "$l1" 5 4
cast send --rpc-url "$l1" --private-key "$(key 2)" --value 0.1ether "$inbox" \
  'send(address,bool,uint256,uint256,uint64,bytes)' "$forced" false 0 3ether 21000 0x >/dev/null || fail "forced" "not queued"
messages=$(cast call --rpc-url "$l1" "$inbox" 'length()(uint64)')
batches=$(rollup 'headIndex()(uint64)') era=$(rollup 'era()(uint32)')
refused() { [[ $(stages "$l2") == *OverdueMessage* || $(rollup 'era()(uint32)') -gt $era ]]; }
if until_true 90 refused; then pass "its batches are refused, or replaced, once the message is overdue"; else fail "its batches are refused" "$(stages "$l2")"; fi
true_that "until then it commits others" "$(rollup 'headIndex()(uint64)') > $batches"
rescued() { [[ $(balance "$first" "$forced") == 3000000000000000000 && $(balance "$second" "$forced") == 3000000000000000000 ]]; }
if until_true 120 rescued; then pass "two strangers see to it that the message is consumed"; else fail "the message is consumed" "$(stages "$first") $(stages "$second")"; fi
final() { [[ $(rollup 'finalMessage()(uint64)') == "$messages" ]]; }
if until_true 120 final; then pass "and final"; else fail "and final" "$(stages "$first") $(stages "$second")"; fi
is "in one new era" "$((era + 1))" "$(rollup 'era()(uint32)')"
until_true 60 begins || fail "a transfer after it" "$hash"
reaches "the sequencer follows, and goes on" "$hash" final
is "with the message" 3000000000000000000 "$(balance "$l2" "$forced")"
finish
