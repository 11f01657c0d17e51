#!/usr/bin/env bash
# jove deploy, risks, bridge and the beginning of an escape on anvil: another L1 than jove's own. It starts anvil itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs jove deploy: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh

port=$(port)
export ETH_RPC_URL=http://127.0.0.1:$port JOVE_L1_URL=http://127.0.0.1:$port JOVE_CHAIN=$E2E_WORK/chain.json
anvil --port "$port" --chain-id 901 --hardfork osaka --balance 1000000 --block-time 1 --slots-in-an-epoch 2 \
  >"$E2E_WORK/anvil.log" 2>&1 &
pid=$!
trap 'kill -INT $pid 2>/dev/null; wait $pid 2>/dev/null' EXIT
until_true 30 cast block-number

key=$(cast wallet private-key "$MNEMONIC" 1)
who=$(cast wallet address --private-key "$key")
jove() { JOVE_PRIVATE_KEY=$key JOVE_LOG=warn "$JOVE_BIN" "$@"; }

out=$(jove deploy) || fail "deployment" "$out"
echo "$out"
address() { awk -v name="$1" '$1 == name { print $2 }' <<<"$out"; }
rollup=$(address Rollup) bridge=$(address Bridge) inbox=$(address Inbox)
is "transactions" 25 "$(cast nonce "$who")"
is "the chain is open" 1 "$(cast call "$rollup" 'phase()(uint8)')"
is "the rollup names the inbox" "$inbox" "$(cast call "$rollup" 'inbox()(address)')"
is "genesis is covered" 100000000000000000000000 "$(cast balance "$bridge")"
is "the chain file names the opening" "$(js '$.settlement.block' "$(cat "$JOVE_CHAIN")")" \
  "$(js 'Number($[0].blockNumber)' "$(cast logs --json --from-block 0 --address "$rollup" 'Opened(bytes32,(bytes32,bytes32,bytes32,uint256))')")"
is "again: the same is printed" "$out" "$(jove deploy)"
rm "$JOVE_CHAIN"
is "without the file: the same" "$out" "$(jove deploy)"
is "nothing was sent again" 25 "$(cast nonce "$who")"
like "risks" "the governor is a single key \($who\)" "$(jove risks)"

said=$(jove bridge deposit --amount 1.5)
like "deposit" "message 0" "$said"
is "the vault has exactly as much more" 100001500000000000000000 "$(cast balance "$bridge")"
is "the queue has it" 1 "$(cast call "$inbox" 'length()(uint64)')"
fails "an amount that is not there" "would fail" jove bridge deposit --amount 2000000
like "status" "1 queued, 0 consumed" "$(jove bridge status)"
fails "for production" "real verifiers" jove deploy --production --out "$E2E_WORK/production.json" \
  --chain <(js 'JSON.stringify({ ...$, settlement: undefined, development: undefined })' "$(cat "$JOVE_CHAIN")")

# Nobody runs the chain: once the deposit has waited for Z, the escape begins by L1 and the chain file alone.
cast rpc evm_increaseTime $((21 * 86400)) >/dev/null; cast rpc evm_mine >/dev/null
out=$(JOVE_L2_URL=http://127.0.0.1:1 jove escape start 2>&1)
like "an escape begins without a node of the chain" "the escape has begun.*became final with it: 0 .*final for ever: batch 0" "$(tr '\n' ' ' <<<"$out")"
is "L1 says so" 2 "$(cast call "$rollup" 'phase()(uint8)')"
finish
