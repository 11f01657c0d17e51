#!/usr/bin/env bash
# Proofs by enclave programs, of software quotes: a development chain's own, then others over the network, one after the other killed. It starts its
# nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs jove dev: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh

pids=()
trap 'kill -INT ${pids[@]+"${pids[@]}"} 2>/dev/null; wait' EXIT
data=$E2E_WORK/enclave
for name in l1 l2 prover; do declare "$name=http://127.0.0.1:$(port)"; done
key=$(cast wallet private-key "$MNEMONIC" 1)
has_rung() { [[ $(js "Boolean(\$.rungs.$2)" "$(cast rpc --rpc-url "$l2" jove_getFinality "$1")") == true ]]; }
transfer() { hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --private-key "$key" --value 1 0x00000000000000000000000000000000000f0101)"); }
reaches() { if until_true 120 has_rung "$2" "$3"; then pass "$1"; else fail "$1" "$(cast rpc --rpc-url "$l2" jove_syncStatus) $(tail -3 "$data.log")"; fi; }
start() {
  JOVE_LOG=info "$JOVE_BIN" dev --enclave --datadir "$data" --http-port "${l2##*:}" --l1-http-port "${l1##*:}" --prover-listen "${prover#http://}" \
    >>"$data.log" 2>&1 &
  dev=$!
  pids+=("$dev")
  until_true 60 cast block-number --rpc-url "$l2" || fail "jove dev starts" "$(tail -5 "$data.log")"
}
start
transfer
reaches "a batch is attested by an enclave" "$hash" attested
reaches "and final, with a zero-knowledge proof" "$hash" final
like "by a registered key" "^1$" "$(grep -c "enclave is registered on L1" "$data.log")"

# The program dies at once, and is started anew with the same key.
pkill -KILL -f "enclave --inside.*$data" && pass "the enclave program is killed"
transfer
reaches "the next batch is attested all the same" "$hash" attested
kill -KILL "$dev"; wait "$dev" 2>/dev/null
start
transfer
reaches "as it is after the node was killed" "$hash" attested

# Other provers, with a secret and without.
fails "a prover needs the secret" "secret" "$JOVE_BIN" prover --controller "$prover" --secret-file "$data.none"
openssl rand -hex 32 >"$data.wrong"
JOVE_LOG=info timeout 20 "$JOVE_BIN" prover --controller "$prover" --secret-file "$data.wrong" --keys "$data/tee" >"$data.stranger.log" 2>&1
like "with another secret it gets nothing" "401" "$(tail -1 "$data.stranger.log")"
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
curl -s "$l2/metrics" >"$data.metrics"
like "metrics count the proofs" "jove_prover_proofs_total [1-9]" "$(grep '^jove_prover_proofs_total' "$data.metrics")"
finish
