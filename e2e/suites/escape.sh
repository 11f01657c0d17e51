#!/usr/bin/env bash
# Everything that leaves the chain. While it runs: tokens in and out, a deposit that fails, an L1 block full of messages, proofs of withdrawals after history
# was pruned. Then its sequencer is killed and its data are gone: a node is rebuilt from L1 alone, the escape begins, and everyone takes what is theirs;
# sums exact to the wei. Proofs are those of test verifiers. It starts its nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs jove dev: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh

pids=()
trap 'kill -INT ${pids[@]+"${pids[@]}"} 2>/dev/null; wait' EXIT
n() { js "($1).toString()"; } # exact arithmetic: n 1n+2n
key() { cast wallet private-key "$MNEMONIC" "$1"; }
who() { cast wallet address --private-key "$(key "$1")"; }
jove_as() { # jove_as ACCOUNT ARGUMENT...
  local account=$1; shift
  JOVE_PRIVATE_KEY=${keys[$account]} JOVE_LOG=warn JOVE_CHAIN=$chain JOVE_L1_URL=$l1 JOVE_L2_URL=$l2 "$JOVE_BIN" "$@"
}
balance() { cast balance --rpc-url "$1" "$2"; }
coins() { local out; out=$(cast call --rpc-url "$1" "$2" 'balanceOf(address)(uint256)' "$3"); echo "${out%% *}"; } # coins URL TOKEN WHO
withdrawn() { sed -n 's/^withdrawn in \(0x[0-9a-f]*\).*/\1/p'; } # the hash in what jove bridge withdraw prints
is_final() { [[ $(js '$.rung' "$(cast rpc --rpc-url "$l2" jove_getFinality "$1")") == final ]]; }
succeeded() { js '$.status == "0x1" ? $.transactionHash : "failed"' "$(sent "$@")"; } # the hash of a transaction that succeeded
begin=$SECONDS
note() { echo "      ($((SECONDS - begin)) s) $1"; }

keys=() names=()
for i in {0..9}; do keys[i]=$(key "$i"); names[i]=$(who "$i"); done
data=$E2E_WORK/abandoned chain=$E2E_WORK/abandoned.json l1=http://127.0.0.1:$(port) l2=http://127.0.0.1:$(port)

# --- a chain with short delays, whose L1 blocks hold 120 million gas of messages ---
js 'JSON.stringify({ ...$, gas: { ...$.gas, targetPerSecond: 20000000, blockGasLimit: 40000000 } })' "$(cat dev.json)" >"$E2E_WORK/template.json"
JOVE_L1_LOG=warn "$JOVE_BIN" l1 --datadir "$data-l1" --http-port "${l1##*:}" >"$data-l1.log" 2>&1 &
pids+=($!)
until_true 30 cast block-number --rpc-url "$l1" || fail "jove l1 starts" "$(tail -5 "$data-l1.log")"
out=$(JOVE_PRIVATE_KEY=${keys[9]} JOVE_LOG=warn "$JOVE_BIN" deploy --l1-url "$l1" --chain "$E2E_WORK/template.json" --out "$chain" \
  --council "${names[0]}" --single-proof-delay 2s --escape-delay 45s 2>&1) || fail "deployment" "$out"
contract() { js "\$.settlement.$1" "$(cat "$chain")"; }
inbox=$(contract inbox) bridge=$(contract bridge) rollup=$(contract rollup) pause=$(contract pause) hatch=$(contract escapeHatch)
JOVE_LOG=info "$JOVE_BIN" dev --chain "$chain" --datadir "$data" --http-port "${l2##*:}" --l1-url "$l1" --history 1s >"$data.log" 2>&1 &
pids+=($!) dev=$!
until_true 120 cast block-number --rpc-url "$l2" || fail "jove dev starts" "$(tail -5 "$data.log")"
note "the chain runs"

# --- tokens in ---
deployed=$(cast send --json --rpc-url "$l1" --private-key "${keys[2]}" --create "$(js '$.bytecode.object' "$(cat "$E2E_OUT/Coin.sol/Coin.json")")" \
  'constructor(uint256)' 5000000000)
coin=$(js '$.contractAddress' "$deployed")
jove_as 1 bridge deposit --amount 5 --wait --timeout 600s >"$data.deposit" 2>&1 &
deposit=$!
before=$(balance "$l2" "${names[1]}")
out=$(jove_as 2 bridge deposit --amount 1000.5 --token "$coin" --wait --timeout 600s 2>&1) || fail "tokens: deposit" "$out"
wait "$deposit" || fail "ether: deposit" "$(cat "$data.deposit")"
is "ether: it has arrived" "$(n "${before}n + 5n * 10n ** 18n")" "$(balance "$l2" "${names[1]}")"
l2_coin=$(cast call --rpc-url "$l2" 0x4200000000000000000000000000000000000010 'l2TokenOf(address)(address)' "$coin")
is "tokens: the counterpart has name, symbol and decimals" '"Coin of L1" "COIN" 6' \
  "$(for what in 'name()(string)' 'symbol()(string)' 'decimals()(uint8)'; do cast call --rpc-url "$l2" "$l2_coin" "$what"; done | paste -sd' ')"
is "tokens: they have arrived" 1000500000 "$(coins "$l2" "$l2_coin" "${names[2]}")"
is "tokens: the vault has as many" "1000500000 1000500000" \
  "$(coins "$l1" "$coin" "$bridge") $(cast call --rpc-url "$l1" "$bridge" 'escrow(address)(uint256)' "$coin" | cut -d' ' -f1)"
true_that "tokens: a transfer on the chain" '$.status == "0x1"' \
  "$(cast send --json --rpc-url "$l2" --private-key "${keys[2]}" "$l2_coin" 'transfer(address,uint256)' "${names[3]}" 250000001)"
is "tokens: both have what is theirs" "750499999 250000001" "$(coins "$l2" "$l2_coin" "${names[2]}") $(coins "$l2" "$l2_coin" "${names[3]}")"

# Two deposits with a call that their recipient, an account without code, does not take: one is sent back, one stays for the escape.
cast send --rpc-url "$l1" --private-key "${keys[2]}" "$coin" 'approve(address,uint256)' "$bridge" 15000003 >/dev/null
refused=()
for amount in 7000001 8000002; do
  refused+=("$(succeeded --rpc-url "$l1" --private-key "${keys[2]}" --value 1ether "$bridge" \
    'depositERC20(address,address,uint256,uint64,bytes)' "$coin" "${names[5]}" "$amount" 100000 0x01)")
done
told() { [[ $(jove_as 2 bridge status "${refused[1]}" 2>&1) == *"did not take"* ]]; }
until_true 30 told
like "a refused deposit is recorded, and said how to send back" "did not take .*sendBack\(0, $coin, ${names[2]}, 7000001\)" \
  "$(jove_as 2 bridge status "${refused[0]}" 2>&1)"
is "nothing of it was minted" 0 "$(coins "$l2" "$l2_coin" "${names[5]}")"
note "tokens are in"

# --- out: a withdrawal of tokens, and a refused deposit, at the same time ---
back=$(succeeded --rpc-url "$l2" --private-key "${keys[6]}" 0x4200000000000000000000000000000000000010 \
  'sendBack(uint256,address,address,uint256)' 0 "$coin" "${names[2]}" 7000001)
fails "it is sent back once" "NoSuchFailure|execution reverted" cast send --rpc-url "$l2" --private-key "${keys[6]}" \
  0x4200000000000000000000000000000000000010 'sendBack(uint256,address,address,uint256)' 0 "$coin" "${names[2]}" 7000001
owned=$(coins "$l1" "$coin" "${names[2]}")
jove_as 3 bridge withdraw --amount 100.25 --token "$coin" --to "${names[4]}" --wait --timeout 600s >"$data.withdraw" 2>&1 &
withdraw=$!
jove_as 7 bridge claim "$back" --wait --timeout 600s >"$data.back" 2>&1 &
claim=$!
# Meanwhile, a withdrawal that nobody claims before the end.
unclaimed=$(jove_as 1 bridge withdraw --amount 1.5 --to 0x00000000000000000000000000000000000e5ca9 2>&1 | withdrawn)

# --- an L1 block full of messages: two transactions, the second with one message too many ---
flood=$(js '$.contractAddress' "$(cast send --json --rpc-url "$l1" --private-key "${keys[7]}" --create \
  "$(js '$.bytecode.object' "$(cat "$E2E_OUT/Flood.sol/Flood.json")")")")
first=$(cast call --rpc-url "$l1" "$inbox" 'length()(uint64)') from=$(cast block-number --rpc-url "$l2")
fill() { cast send --async --rpc-url "$l1" --private-key "${keys[7]}" --nonce "$1" --gas-limit 8000000 --value 1ether "$flood" 'fill(address,uint256)' "$inbox" "$2"; }
nonce=$(cast nonce --rpc-url "$l1" "${names[7]}")
touch "$data.busy"
(nonce=$(cast nonce --rpc-url "$l2" "${names[6]}")
  while [[ -e $data.busy ]]; do
    cast send --async --rpc-url "$l2" --private-key "${keys[6]}" --nonce "$nonce" --gas-limit 21000 --gas-price 1gwei --priority-gas-price 1 "${names[6]}" >/dev/null 2>&1 && nonce=$((nonce + 1))
  done) &
pool=$!
cast rpc --rpc-url "$l1" evm_setAutomine false >/dev/null
fills=("$(fill "$nonce" 30)" "$(fill $((nonce + 1)) 31)")
cast rpc --rpc-url "$l1" evm_mine >/dev/null
cast rpc --rpc-url "$l1" evm_setAutomine true >/dev/null
receipts=$(for hash in "${fills[@]}"; do cast receipt --json --rpc-url "$l1" "$hash"; done | paste -sd, | sed 's/^/[/; s/$/]/')
true_that "both are in one L1 block" '$.length == 2 && $.every(({ status }) => status == "0x1") && $[0].blockNumber == $[1].blockNumber' "$receipts"
after=$(cast call --rpc-url "$l1" "$inbox" 'length()(uint64)')
is "a block holds six seconds of the gas target, to the gas" 60 $((after - first))
like "one more is refused by name" "$(cast sig 'BlockGasExceeded(uint256,uint256)' | cut -c3-)0*$(printf '%x' 122000000)0*$(printf '%x' 120000000)" \
  "$(js '$[1].logs.at(-1).data' "$receipts")"
arrived() { [[ $(js '$.l1.messagesConsumed' "$(cast rpc --rpc-url "$l2" jove_syncStatus)") -ge $after ]]; }
until_true 120 arrived || fail "the messages arrive" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"
followed() { out=$(node lib/queue.mjs "$l2" "$inbox" "$first" "$after" "$from" 2>&1); [[ $(js '$.poolAfter > 0' "$out") == true ]]; }
until_true 15 followed
rm "$data.busy"; wait "$pool"
true_that "all are on the chain, once, in order, in several blocks" '$.count == 60 && $.inOrder && $.lastBlock > $.firstBlock' "$out"
true_that "no pool transaction is among them, and some are after" '$.poolBetween == 0 && $.poolAfter > 0' "$out"
full_block=$(js '$.lastBlock' "$out")
note "messages: $out"

# --- what went out has arrived ---
wait "$withdraw" || fail "tokens: withdrawal" "$(cat "$data.withdraw")"
wait "$claim" || fail "the refused deposit comes back" "$(cat "$data.back")"
is "tokens: exactly what was withdrawn is paid" 100250000 "$(coins "$l1" "$coin" "${names[4]}")"
is "the refused deposit is back, to the unit" "$(n "${owned}n + 7000001n")" "$(coins "$l1" "$coin" "${names[2]}")"
is "tokens: burned on the chain" 149750001 "$(coins "$l2" "$l2_coin" "${names[3]}")"
is "tokens: the vault has the rest" "$(n '1000500000n + 8000002n - 100250000n')" "$(coins "$l1" "$coin" "$bridge")"

# --- proofs of withdrawals need no history ---
block_final() { [[ $(js '$.l2.finalized' "$(cast rpc --rpc-url "$l2" jove_syncStatus)") -ge $full_block ]]; }
if until_true 120 block_final; then pass "the batch with the full block is final"; else fail "the batch with the full block is final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
cast rpc --rpc-url "$l2" anvil_mine 1000 >/dev/null
# The last transaction: it makes a batch of what was mined.
last=$(succeeded --rpc-url "$l2" --private-key "${keys[6]}" --value 1 "${names[1]}")
if until_true 120 is_final "$last"; then pass "all is final"; else fail "all is final" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
fails "history is pruned" "pruned|missing trie node|not available" cast balance --rpc-url "$l2" --block 2 "${names[1]}"
true_that "and a withdrawal before it is proven" '$.status == "final" && $.final.index >= $.batch && $.proof.length == 32' "$(cast rpc --rpc-url "$l2" jove_getWithdrawalProof "$unclaimed")"
note "all is final"

# --- no escape from a chain that works ---
like "status of a chain that works" "open.*waits +nothing.*never while nothing waits" "$(jove_as 0 escape status 2>&1 | tr '\n' ' ')"
fails "no escape begins while nothing waits" "nothing waits to become final" jove_as 0 escape start
fails "and nothing is taken" "the escape has not begun" jove_as 1 escape withdraw

# --- the operator is gone, with all data; the last batch is proven, and not final, for the council had paused that ---
cast send --rpc-url "$l1" --private-key "${keys[0]}" "$pause" 'pause(uint256)' 3600 >/dev/null
last=$(jove_as 8 bridge withdraw --amount 0.75 --to 0x00000000000000000000000000000000000e5caa 2>&1 | withdrawn)
proven() { [[ $(js '$.rungs.attested && $.rungs.proven && $.rung' "$(cast rpc --rpc-url "$l2" jove_getFinality "$last")") == committed ]]; }
if until_true 120 proven; then pass "a batch is proven and not final"; else fail "a batch is proven and not final" "$(cast rpc --rpc-url "$l2" jove_getFinality "$last")"; fi
head=$(js 'Number($.blockNumber)' "$(cast receipt --json --rpc-url "$l2" "$last")")
hashes="$(cast block --rpc-url "$l2" "$full_block" --field hash) $(cast block --rpc-url "$l2" "$head" --field hash)"
kill -KILL "$dev"; wait "$dev" 2>/dev/null
rm -rf "$data"
cast send --rpc-url "$l1" --private-key "${keys[0]}" "$pause" 'unpause()' >/dev/null
vault=$(balance "$l1" "$bridge")
(jove_as 4 bridge deposit --amount 2 || echo FAILED) >"$data.late" 2>&1 &
late=$!
out=$(jove_as 2 bridge deposit --amount 30 --token "$coin" 2>&1) || fail "a token deposit that nobody consumes" "$out"
queued=$(sed -n 's/.*message \([0-9]*\)$/\1/p' <<<"$out" | head -1)
wait "$late"
is "deposits that nobody consumes are in the vault" "$(n "${vault}n + 2n * 10n ** 18n")" "$(balance "$l1" "$bridge")"
fails "the escape is not due at once" "cannot begin yet: in [0-9]+ s" jove_as 0 escape start

l2=http://127.0.0.1:$(port)
JOVE_LOG=info "$JOVE_BIN" node --chain "$chain" --role full --from-l1 --l1-url "$l1" --datadir "$data-full" --http-port "${l2##*:}" >"$data-full.log" 2>&1 &
pids+=($!)
has() { [[ $(cast block-number --rpc-url "$l2" 2>/dev/null) -ge $head ]]; }
until_true 120 has || fail "it is rebuilt from L1" "$(tail -3 "$data-full.log")"
is "rebuilt from L1 to the same hashes, the full block's too" "$hashes" \
  "$(cast block --rpc-url "$l2" "$full_block" --field hash) $(cast block --rpc-url "$l2" "$head" --field hash)"
note "rebuilt from L1"
due() { [[ $(jove_as 0 escape status 2>&1) == *"can begin"* ]]; }
until_true 120 due
like "status of a chain that nobody runs" "open.*waits +batch [0-9]+ for [0-9]+ s, message [0-9]+ for [0-9]+ s.*can begin" "$(jove_as 0 escape status 2>&1 | tr '\n' ' ')"

# --- the escape ---
vault=$(balance "$l1" "$bridge")
fails "a batch that can be final is not left out" "$(cast sig 'StillFinal(uint64)')|StillFinal" cast call --rpc-url "$l1" "$rollup" \
  'startEscape((bool,bytes32,bytes32)[],bytes32,bytes32)' '[]' "0x${hashes:2:64}" "0x${hashes:2:64}"
out=$(jove_as 3 escape start 2>&1)
like "the escape begins, from any account, and makes it final" "the escape has begun.*became final with it: 1 .*final for ever: batch " "$(tr '\n' ' ' <<<"$out")"
true_that "to its last block" "$(sed -n 's/.* block \([0-9]*\),.*/\1/p' <<<"$out") >= $head"
fails "once" "has begun already" jove_as 0 escape start
is "L1 says so" 2 "$(cast call --rpc-url "$l1" "$rollup" 'phase()(uint8)')"
not_open=$(cast sig 'NotOpen(uint8)')
fails "no batch is taken any more" "$not_open|NotOpen" cast call --rpc-url "$l1" --from "${names[9]}" "$rollup" \
  'commit((bytes32,bytes32,uint64,uint64,uint64,uint64,bytes32),bytes)' "(0x${hashes:2:64},0x${hashes:2:64},1,1,1,1,0x${hashes:2:64})" 0x
fails "no proof is taken any more" "$not_open|NotOpen" cast call --rpc-url "$l1" "$rollup" \
  "prove((uint8,bytes32,address,((uint8,uint64,uint64,address,uint64,bytes32,bytes32,bytes32,uint64,uint64,uint64,uint64,uint64,bytes32,bytes32,uint64,bytes32,bytes32),bytes32[],(bytes32,bytes32,bytes,bytes)[],bool,bytes32,bytes32)[],bytes)[])" \
  "[(0,0x${hashes:2:64},${names[0]},[],0x)]"
fails "no deposit is taken any more" "ChainNotOpen" jove_as 5 bridge deposit --amount 1
out=$(jove_as 0 escape status "${names[2]}" 2>&1 | tr '\n' ' ')
like "status of an account" "halted.*has +[0-9.]+ ether.*has +750.499999 of token $coin.*message.*30.000000 of token.*failed +deposit 1 of 8.000002" "$out"
fails "a stranger does not take it" "NotOwner\(${names[5]}, ${names[1]}\)" jove_as 5 escape withdraw --account "${names[1]}"

# Each account its own, all at once; what they had on the chain is what leaves the vault.
ether=0 expected=0
for i in {0..9}; do amount=$(balance "$l2" "${names[i]}"); ether=$(n "${ether}n + ${amount}n"); done
fresh=0x00000000000000000000000000000000000e5ca0
(jove_as 1 escape withdraw --to "$fresh" && jove_as 1 bridge claim "$unclaimed") >"$data.leave.1" 2>&1 || echo FAILED >>"$data.leave.1" &
leaving=($!)
(jove_as 2 escape withdraw && jove_as 2 escape withdraw --token "$coin" && jove_as 2 escape refund) >"$data.leave.2" 2>&1 || echo FAILED >>"$data.leave.2" &
leaving+=($!)
(jove_as 3 escape withdraw && jove_as 3 escape withdraw --token "$coin" --to "$fresh") >"$data.leave.3" 2>&1 || echo FAILED >>"$data.leave.3" &
leaving+=($!)
(jove_as 4 escape withdraw && jove_as 4 escape refund --to "$fresh") >"$data.leave.4" 2>&1 || echo FAILED >>"$data.leave.4" &
leaving+=($!)
(jove_as 8 escape withdraw && jove_as 8 bridge claim "$last" --wait --timeout 600s) >"$data.leave.8" 2>&1 || echo FAILED >>"$data.leave.8" &
leaving+=($!)
owned=$(coins "$l1" "$coin" "${names[2]}") mine=$(balance "$l2" "${names[1]}")
# Another has the call of the seventh printed, as for a contract; the seventh makes it.
call=$(jove_as 0 escape withdraw --account "${names[7]}" --to "${names[7]}" --print 2>&1)
printed=("$(awk '$1 == "to" { print $2 }' <<<"$call")" "$(awk '$1 == "data" { print $2 }' <<<"$call")")
is "a printed call is the hatch's" "$hatch" "${printed[0]}"
(cast send --rpc-url "$l1" --private-key "${keys[7]}" "${printed[@]}") >"$data.leave.7" 2>&1 || echo FAILED >>"$data.leave.7" &
leaving+=($!)
for i in 0 5 6 9; do
  jove_as "$i" escape withdraw >"$data.leave.$i" 2>&1 || echo FAILED >>"$data.leave.$i" &
  leaving+=($!)
done
wait "${leaving[@]}"
if grep -l FAILED "$data".leave.* >/dev/null; then fail "everyone leaves" "$(grep -h -B2 FAILED "$data".leave.*)"; else pass "everyone leaves"; fi
note "everyone has left"
is "ether goes where its owner says; a refunded deposit as well" "$(n "${mine}n + 2n * 10n ** 18n")" "$(balance "$l1" "$fresh")"
is "the withdrawal that was final is paid" 1500000000000000000 "$(balance "$l1" 0x00000000000000000000000000000000000e5ca9)"
is "and the one in the batch that the escape made final" 750000000000000000 "$(balance "$l1" 0x00000000000000000000000000000000000e5caa)"
is "tokens: to the one who asked" 149750001 "$(coins "$l1" "$coin" "$fresh")"
is "tokens: by proof, of the unconsumed deposit, of the failed one" "$(n "${owned}n + 750499999n + 30000000n + 8000002n")" "$(coins "$l1" "$coin" "${names[2]}")"
is "tokens: none is left in the vault" "0 0" \
  "$(coins "$l1" "$coin" "$bridge") $(cast call --rpc-url "$l1" "$bridge" 'escrow(address)(uint256)' "$coin" | cut -d' ' -f1)"
left=$(balance "$l1" "$bridge")
is "ether: exactly what was due has left the vault" "$(n "${vault}n - ${ether}n - 225n * 10n ** 16n - 2n * 10n ** 18n")" "$left"
for place in 0x4200000000000000000000000000000000000011 0x4200000000000000000000000000000000000019 0x420000000000000000000000000000000000001a; do
  expected=$(n "${expected}n + $(balance "$l2" "$place")n")
done
is "ether: what is left is what the chain's fee vaults hold" "$expected" "$left"

# --- nobody takes anything twice ---
fails "ether twice" "was taken already" jove_as 1 escape withdraw
fails "nor past the command" "$(cast sig 'AlreadyTaken()')|AlreadyTaken" cast call --rpc-url "$l1" --from "${names[7]}" "${printed[@]}"
fails "tokens twice" "was taken already" jove_as 3 escape withdraw --token "$coin"
fails "a refund twice" "nothing to refund" jove_as 2 escape refund
fails "a refund by its number twice" "AlreadyTaken" jove_as 2 escape refund "$queued"
fails "a consumed message" "Consumed\($first\)" jove_as 2 escape refund "$first"
fails "an account without tokens" "nothing to take" jove_as 8 escape withdraw --token "$coin"
like "the withdrawal twice" "executed before" "$(jove_as 7 bridge claim "$unclaimed" 2>&1)"
out=$(jove_as 7 escape status "${names[2]}" 2>&1 | tr '\n' ' ')
like "status says what was taken" "ether, taken already.*of token $coin, taken already.*refunded already.*refunded already" "$out"
is "and the vault is as it was" "$left" "$(balance "$l1" "$bridge")"
note "done"
finish
