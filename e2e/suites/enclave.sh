#!/usr/bin/env bash
# Proofs by enclave programs, of software quotes: a development chain's own, also of another build, then others over the network, one after the other killed.
# It starts its nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs jove dev: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh

pids=()
trap 'kill -INT ${pids[@]+"${pids[@]}"} 2>/dev/null; wait' EXIT
data=$E2E_WORK/enclaved
for name in l1 l2 prover; do declare "$name=http://127.0.0.1:$(port)"; done
key=$(cast wallet private-key "$MNEMONIC" 1)
has_rung() { [[ $(js "Boolean(\$.rungs.$2)" "$(cast rpc --rpc-url "$l2" jove_getFinality "$1")") == true ]]; }
transfer() { hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --private-key "$key" --value 1 0x00000000000000000000000000000000000f0101)"); }
reaches() { if until_true 120 has_rung "$2" "$3"; then pass "$1"; else fail "$1" "$(cast rpc --rpc-url "$l2" jove_syncStatus) $(tail -3 "$data.log")"; fi; }
program=$JOVE_BIN listen=(--prover-listen "${prover#http://}")
start() {
  JOVE_LOG=info "$program" dev "$@" --datadir "$data" --http-port "${l2##*:}" --l1-http-port "${l1##*:}" ${listen[@]+"${listen[@]}"} \
    >>"$data.log" 2>&1 &
  dev=$!
  pids+=("$dev")
  until_true 60 cast block-number --rpc-url "$l2" || fail "jove dev starts" "$(tail -5 "$data.log")"
}
start
transfer
reaches "a batch is attested by an enclave" "$hash" attested
reaches "and final, with a zero-knowledge proof" "$hash" final
true_that "the node answers before its enclave is ready" "$(grep -n -m1 '"ready"' "$data.log" | cut -d: -f1) < $(grep -n -m1 'build of the enclave program' "$data.log" | cut -d: -f1)"
like "by a registered key" "^[1-9]" "$(grep -c "enclave is registered on L1" "$data.log")"

# The program dies at once, and is started anew with the same key.
pkill -KILL -f "enclave --inside.*$data" && pass "the enclave program is killed"
transfer
reaches "the next batch is attested all the same" "$hash" attested
kill -KILL "$dev"; wait "$dev" 2>/dev/null
start
transfer
reaches "as it is after the node was killed" "$hash" attested

# Another build is another program: the chain lets it in by itself.
stop() { kill -INT "$dev"; wait "$dev"; is "the node ends at Ctrl-C" 0 $?; }
stop
cp "$JOVE_BIN" "$data.rebuilt" && echo >>"$data.rebuilt" && program=$data.rebuilt
start
transfer
reaches "another build of the program proves too" "$hash" attested
is "by a measurement of its own" 2 "$(grep -o 'measurement":"0x[0-9a-f]*' "$data.log" | sort -u | wc -l)"
stop
program=$JOVE_BIN
start

# Other provers, with a secret and without.
fails "a prover needs the secret" "secret" "$JOVE_BIN" prover --controller "$prover" --secret-file "$data.none"
openssl rand -hex 32 >"$data.wrong"
JOVE_LOG=info "$JOVE_BIN" prover --controller "$prover" --secret-file "$data.wrong" --keys "$data/tee" >"$data.stranger.log" 2>&1 &
stranger=$!
pids+=("$stranger")
refused() { grep -q 401 "$data.stranger.log"; }
until_true 30 refused
sleep 5 # it tries again, and says no more of that
like "with another secret it gets nothing" "401" "$(tail -1 "$data.stranger.log")"
kill -INT "$stranger"; wait "$stranger" 2>/dev/null
JOVE_LOG=info "$JOVE_BIN" prover --controller "$prover" --secret-file "$data/prover.hex" --keys "$data/tee" --name second >"$data.second.log" 2>&1 &
second=$!
pids+=("$second")
registered() { grep -q "enclave is registered on L1" "$data.second.log"; }
if until_true 60 registered; then pass "another prover is registered"; else fail "another prover" "$(tail -3 "$data.second.log")"; fi
for _ in 1 2 3; do transfer; done
kill -KILL "$second"; wait "$second" 2>/dev/null
reaches "what it had when it was killed is proven" "$hash" final
jobs=$(curl -s -H "authorization: Bearer x" -o /dev/null -w '%{http_code}' "$prover/v1/jobs")
is "the controller shows its jobs to nobody else" 401 "$jobs"
rollup=$(js '$.settlement.rollup' "$(cat "$data/chain.json")")
accepted=$(cast logs --json --rpc-url "$l1" --address "$rollup" --from-block 0 \
  'ProofAccepted(uint8 indexed system, uint64 first, uint64 last, address indexed payout, (address,bytes32,uint8) prover)')
true_that "whoever was killed, each batch has one proof by an enclave, and no two the same" \
  '((batches) => batches.length > 4 && batches.every((batch, at) => Number(batch) === at + 1))($.filter((log) => Number(log.topics[1]) === 0).map((log) => log.data.slice(0, 66)))' "$accepted"
curl -s "$l2/metrics" >"$data.metrics"
like "metrics count the jobs" 'jove_prover_jobs.state="waiting"' "$(grep '^jove_prover_jobs' "$data.metrics")"
like "metrics count the proofs" "jove_prover_proofs_total [1-9]" "$(grep '^jove_prover_proofs_total' "$data.metrics")"

# A chain that was begun without enclaves stays so.
stop
data=$E2E_WORK/plain listen=()
start --enclave false
transfer
reaches "without enclaves a test verifier attests" "$hash" attested
stop
start
says() { grep -q 'begun without' "$data.log"; }
until_true 30 says
like "which it says" "begun without enclaves, and stays so" "$(grep -m1 'begun without' "$data.log")"
stop
fails "and enclaves cannot be had later" "begun without enclaves" \
  "$JOVE_BIN" dev --enclave --datadir "$data" --http-port "${l2##*:}" --l1-http-port "${l1##*:}"
finish
