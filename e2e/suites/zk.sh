#!/usr/bin/env bash
# A batch with a deposit, transfers, an ERC-20 and a withdrawal is proven in zero knowledge on this machine, and by an enclave: it is final, the withdrawal is paid, and
# anyone verifies the STARK. It takes half an hour, so it is run by name alone: `jove prover setup` comes first. It starts its node itself. Run by e2e/run.
#   ZK_KEEP=DIR e2e/run zk     keeps the log, and what jove verify batch --save writes
set -uo pipefail
: "${JOVE_BIN:?this suite runs nodes of its own: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh
# shellcheck source=../lib/nodes.sh
source lib/nodes.sh

root=$E2E_SOURCE/.. data=$E2E_WORK/zk gone=0x00000000000000000000000000000000000f0401 someone=0x00000000000000000000000000000000000f0402
export JOVE_ZK_GUEST=${JOVE_ZK_GUEST:-$root/guests/image/batch.elf} JOVE_ZK_VM=${JOVE_ZK_VM:-$root/guests/openvm/openvm.toml}
mkdir "$data"
l2=http://127.0.0.1:$(port) l1=http://127.0.0.1:$(port)
jove() { JOVE_LOG=warn JOVE_CHAIN=$data/chain/chain.json JOVE_L1_URL=$l1 JOVE_L2_URL=$l2 "$JOVE_BIN" "$@"; }
reached() { [[ $(js "Boolean(\$.rungs.$1)" "$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")") == true ]]; }

"$JOVE_BIN" dev --zk --commit-deadline 30s --datadir "$data/chain" --http-port "${l2##*:}" --l1-http-port "${l1##*:}" >"$data/log" 2>&1 &
pids+=($!)
until_true 60 serves "$l2" || fail "jove dev --zk starts" "$(tail -5 "$data/log")"

# All of it within the age at which a batch is committed.
JOVE_PRIVATE_KEY=$(key 1)
export JOVE_PRIVATE_KEY
who=$(cast wallet address --private-key "$JOVE_PRIVATE_KEY")
jove bridge deposit --amount 5 --to "$someone" --wait --timeout 300s >"$data/deposit" 2>&1 || fail "deposit" "$(tail -3 "$data/deposit")"
token=$(js '$.contractAddress' "$(cast send --json --rpc-url "$l2" --private-key "$JOVE_PRIVATE_KEY" --create "$(js '$.Token' "$(cat "$root/bin/jove/src/bench/contracts/artifacts.json")")")")
cast send --rpc-url "$l2" --private-key "$JOVE_PRIVATE_KEY" "$token" 'fund(address[],uint256)' "[$who]" 1000 >/dev/null
cast send --rpc-url "$l2" --private-key "$JOVE_PRIVATE_KEY" "$token" 'transfer(address,uint256)' "$someone" 7 >/dev/null
cast send --rpc-url "$l2" --private-key "$JOVE_PRIVATE_KEY" --value 1ether "$someone" >/dev/null
out=$(jove bridge withdraw --amount 2 --to "$gone" 2>&1) || fail "withdrawal" "$out"
hash=$(grep -oE '0x[0-9a-f]{64}' <<<"$out" | head -1)
is "the deposit and a transfer have arrived" 6000000000000000000 "$(balance "$l2" "$someone")"
is "and the token" 7 "$(js 'Number(BigInt($))' "\"$(cast call --rpc-url "$l2" "$token" 'balanceOf(address)' "$someone")\"")"

if until_true 240 reached committed; then pass "the batch is on L1"; else fail "the batch is on L1" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
if until_true 60 reached attested; then pass "an enclave has attested it"; else fail "it is attested" "$(tail -5 "$data/log")"; fi
begin=$SECONDS
if until_true "${ZK_TIMEOUT:-5400}" reached proven; then pass "it is proven in zero knowledge, after $((SECONDS - begin)) s"; else fail "it is proven" "$(tail -5 "$data/log")"; fi
grep -E 'a stage is done' "$data/log" | sed 's/^[^ ]* *//'
if until_true 60 is_rung "$hash" final; then pass "and final"; else fail "it is final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
out=$(jove bridge claim "$hash" --wait --timeout 300s 2>&1) || fail "claim" "$out"
is "the withdrawal is paid" 2000000000000000000 "$(balance "$l1" "$gone")"

batch=$(js '$.batch' "$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")")
if out=$(jove verify batch "$batch" --save "$data/batch.json" 2>&1); then like "anyone verifies its STARK" "L1 has this batch, and pins this guest" "$out"; else fail "jove verify batch" "$out"; fi
succeeds "and without a network" env -u JOVE_L1_URL -u JOVE_CHAIN "$JOVE_BIN" verify batch "$batch" --file "$data/batch.json"
changed() { node -e 'const fs = require("fs"); const $ = JSON.parse(fs.readFileSync(process.argv[1])); eval(process.argv[2]); fs.writeFileSync(process.argv[3], JSON.stringify($))' "$data/batch.json" "$1" "$data/changed.json"; }
changed '$.roots.state = "0x" + "11".repeat(32)'
fails "not another state" "another statement" "$JOVE_BIN" verify batch "$batch" --file "$data/changed.json"
changed '$.payout = "0x" + "11".repeat(20)'
fails "nor somebody else's payout" "another statement" "$JOVE_BIN" verify batch "$batch" --file "$data/changed.json"
changed '$.stark = $.stark.slice(0, 4000) + ($.stark[4000] == "0" ? "1" : "0") + $.stark.slice(4001)'
fails "nor another STARK" "does not hold|proof" "$JOVE_BIN" verify batch "$batch" --file "$data/changed.json"
keep() { mkdir -p "$ZK_KEEP" && cp "$data/batch.json" "$data/log" "$ZK_KEEP/"; }
[[ -z ${ZK_KEEP:-} ]] || succeeds "and it is kept" keep
finish
