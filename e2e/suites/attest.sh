#!/usr/bin/env bash
# jove attest on a jove l1 of its own: a chain under the development root, collateral, keys, proofs by a registered key, and each refusal by its name.
# Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs jove deploy: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh

folder=$E2E_WORK/attest
mkdir -p "$folder"
export ETH_RPC_URL JOVE_L1_URL JOVE_CHAIN=$folder/chain.json JOVE_TEE_KEYS=$folder/keys
ETH_RPC_URL=http://127.0.0.1:$(port)
JOVE_L1_URL=$ETH_RPC_URL
JOVE_L1_LOG=warn "$JOVE_BIN" l1 --datadir "$folder/l1" --http-port "${ETH_RPC_URL##*:}" >"$folder/l1.log" 2>&1 &
pids=($!)
trap 'kill -INT "${pids[@]}" 2>/dev/null; wait' EXIT
until_true 30 cast block-number || fail "jove l1 starts" "$(tail -5 "$folder/l1.log")"

governor=$(cast wallet private-key "$MNEMONIC" 1)
anyone=$(cast wallet private-key "$MNEMONIC" 5)
jove() { JOVE_PRIVATE_KEY=$anyone JOVE_LOG=error "$JOVE_BIN" "$@"; }
attest() { jove attest "$@"; }
measurement=$(cast keccak "the program of this suite") other=$(cast keccak "another program")

# --- deployment ---
fails "an enclave's terms without a root" "tee-root" jove deploy --tee-measurement "$measurement"
fails "for production the development root is refused" "root of Intel's" jove deploy --production --tee-root software \
  --out "$folder/production.json" --zk-verifier 0x00000000000000000000000000000000000000f1 --chain <(js 'JSON.stringify({ ...$, development: undefined })' "$(cat dev.json)")
out=$(JOVE_PRIVATE_KEY=$governor JOVE_LOG=warn "$JOVE_BIN" deploy --tee-root software --tee-measurement "$measurement" --timelock-delay 60s) ||
  fail "deployment" "$out"
echo "$out"
named() { js "\$.settlement.attestation.$1" "$(cat "$JOVE_CHAIN")"; }
registry=$(named registry) verifier=$(named teeVerifier) pccs=$(named pccs)
is "the verifier asks the registry" "$registry" "$(cast call "$verifier" 'registry()(address)')"
is "the registry asks for collateral" "$pccs" "$(cast call "$registry" 'pccs()(address)')"
is "the root is one for development" true "$(cast call "$verifier" 'isTest()(bool)')"
is "the measurement is on the list" true "$(cast call "$registry" 'isMeasurementAllowed(bytes32)(bool)' "$measurement")"
is "again: the same is printed" "$out" "$(JOVE_PRIVATE_KEY=$governor JOVE_LOG=warn "$JOVE_BIN" deploy --tee-root software --tee-measurement "$measurement" --timelock-delay 60s)"
like "the risk page says whose word it is" "a development root, not Intel's" "$(jove risks)"

# --- a key, without and with collateral ---
quote() { attest quote --software --key-out "$folder/$1.key" --out "$folder/$1.json" "${@:2}"; }
register() { attest register "$folder/$1.json"; }
like "a software quote is labelled" "proves nothing" "$(quote first --measurement "$measurement")"
fails "without collateral: refused" "UnknownIssuer\(\)" register first
like "status says what is missing" "revocation list +is not there" "$(attest collateral status)"
said=$(attest collateral upload --software) || fail "upload" "$said"
echo "$said"
like "collateral is put in" "QE identity: [0-9]+ gas" "$said"
like "status says until when" "TCB info of FF4A4F564500 +ends in (29|30) d" "$(attest collateral status)"
said=$(register first) || fail "register" "$said"
echo "$said"
like "a key is registered" "registered, for [0-9]+ gas" "$said"
like "a second time is nothing" "registered before" "$(register first)"
key=$(js '$.key' "$(cat "$folder/first.json")")
like "status shows it" "$key +ends in (29|30) d" "$(attest status)"
fails "a check that it lives for longer" "make a new key" attest status "$key" --min-left 31d

# --- what is refused, by name ---
quote changed --measurement "$other" >/dev/null
fails "another measurement" "MeasurementNotAllowed\($other\)" register changed
quote debug --measurement "$measurement" --debug >/dev/null
fails "a debug enclave" "Debug\(\)" register debug
quote good --measurement "$measurement" >/dev/null
js 'JSON.stringify({ ...$, payout: "0x00000000000000000000000000000000000000f1" })' "$(cat "$folder/good.json")" >"$folder/paid.json"
fails "somebody else's payout" "WrongReportData\(\)" register paid
js 'JSON.stringify({ ...$, quote: $.quote.slice(0, 4000) })' "$(cat "$folder/good.json")" >"$folder/cut.json"
fails "half a quote" "QuoteMalformed\(\)" register cut
fails "no JSON" "cut.txt" attest register "$folder/cut.txt"

# --- a proof ---
statement=$(cast keccak "a statement")
digest=$(cast call "$verifier" 'digestOf(bytes32)(bytes32)' "$statement")
proof=$(cast wallet sign --no-hash --private-key "$(cat "$folder/first.key")" "$digest")
verify() { cast call "$verifier" 'verify(bytes32,bytes)((address,bytes32,uint8))' "$@"; }
like "its signature is a proof" "${key}, 0x[0-9a-f]{64}, 0" "$(verify "$statement" "$proof")"
fails "of that statement alone" "$(cast sig 'UnknownKey(address)')" verify "$other" "$proof"

# --- the lists, by the timelock ---
like "what there is to propose is printed" "to +$(js '$.settlement.timelock' "$(cat "$JOVE_CHAIN")")" "$(attest change measurement "$other")"
fails "not by anyone" "AccessControlUnauthorizedAccount" attest change measurement "$other" --send
JOVE_PRIVATE_KEY=$governor JOVE_LOG=error "$JOVE_BIN" attest change measurement "$other" --send >/dev/null
like "it waits" "due at" "$(attest change measurement "$other")"
cast rpc evm_increaseTime 61 >/dev/null; cast rpc evm_mine >/dev/null
like "anyone makes it once it is due" "sent: allow" "$(attest change measurement "$other" --send)"
quote second --measurement "$other" --machine 1 >/dev/null
like "and another program registers" "registered" "$(register second)"

# --- a machine is revoked ---
succeeds "a revocation is put in" attest collateral upload --software --revoke 0
fails "its key's proof is refused" "$(cast sig 'PckRevoked()')" verify "$statement" "$proof"
quote third --measurement "$measurement" >/dev/null
fails "it registers no more" "PckRevoked\(\)" register third
like "status says so" "$key +refused: PckRevoked" "$(attest status)"
like "anyone ends it for good" "refused: KeyInvalidated" "$(attest invalidate "$key")"
fails "another machine's stays" "StillValid" attest invalidate "$(js '$.key' "$(cat "$folder/second.json")")"

# --- collateral ends, and is kept from it ---
cast rpc evm_increaseTime $((25 * 86400)) >/dev/null; cast rpc evm_mine >/dev/null
like "the keeper renews it before" "TCB info of FF4A4F564500: [0-9]+ gas" "$(attest keep --once --software)"
like "and has nothing to do then" "nothing was sent" "$(attest keep --once --software)"
succeeds "files for another machine" attest collateral fetch --software --out "$folder/files"
cast rpc evm_increaseTime $((31 * 86400)) >/dev/null; cast rpc evm_mine >/dev/null
quote late --measurement "$measurement" --machine 2 >/dev/null
fails "expired collateral" "CrlNotCurrent\(\)" register late
fails "a stale file" "NotCurrent\(\)|NotNewer" attest collateral upload "$folder/files"
like "status says since when" "ended [0-9]+ d" "$(attest collateral status)"

# The keeper as a service, with metrics.
metrics=127.0.0.1:$(port)
JOVE_PRIVATE_KEY=$anyone JOVE_LOG=info "$JOVE_BIN" attest keep --software --every 1s --metrics "$metrics" >"$folder/keep.log" 2>&1 &
pids+=($!)
kept() { [[ $(curl -s --noproxy '*' "http://$metrics/metrics" 2>/dev/null | grep -c '^jove_collateral_expires_seconds') -ge 5 ]]; }
if until_true 60 kept; then pass "the keeper says when each part ends"; else fail "the keeper says when each part ends" "$(tail -5 "$folder/keep.log")"; fi
quote again --measurement "$measurement" --machine 2 >/dev/null
like "and whoever must register can" "registered, for" "$(register again)"
finish
