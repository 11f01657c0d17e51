#!/usr/bin/env bash
# cast: reads, sends of every type, calls, logs, proofs and traces. Run by e2e/run.
set -uo pipefail
: "${RPC_URL:?run this suite with e2e/run}"
# shellcheck source=../lib/check.sh
source lib/check.sh

who=$(cast wallet address --mnemonic "$MNEMONIC" --mnemonic-index 1)
key=(--private-key "$(cast wallet private-key "$MNEMONIC" 1)")
send() { cast send --json "${key[@]}" "$@"; }
fresh() { js '$[0].address' "$(cast wallet new --json)"; }
receipt() { cast rpc eth_getTransactionReceipt "$1"; }
# What a transaction cost beyond its value, in wei.
cost='(BigInt($.gasUsed) * BigInt($.effectiveGasPrice) + BigInt($.l1Fee ?? 0))'

# --- the chain ---
is "chain id" 5683 "$(cast chain-id)"
like "client version" "." "$(cast client)"
is "net_version" '"5683"' "$(cast rpc net_version)"
is "not syncing" false "$(cast rpc eth_syncing)"
is "web3_sha3" "\"$(cast keccak 0x6a6f7665)\"" "$(cast rpc web3_sha3 0x6a6f7665)"
is "earliest is block 0" 0 "$(cast block earliest -f number)"
for tag in latest safe finalized pending; do like "block $tag" '^[0-9]+$' "$(cast block $tag -f number)"; done
is "ten funded accounts: the last one's balance at genesis" 10000000000000000000000 \
  "$(cast balance --block 0 "$(cast wallet address --mnemonic "$MNEMONIC" --mnemonic-index 9)")"
true_that "gas price is positive" "$(cast gas-price)n > 0n"
true_that "base fee is positive" "$(cast base-fee)n > 0n"

# --- value transfers: legacy, access list, 1559, and what they cost ---
transfer() { # transfer NAME TYPE GAS ARGS...
  local name=$1 type=$2 gas=$3 to before after nonce out
  shift 3
  to=$(fresh) before=$(cast balance "$who") nonce=$(cast nonce "$who")
  out=$(send --value 1234567 "$@" "$to") || { fail "$name: send" "$out"; return; }
  hash=$(js '$.transactionHash' "$out")
  out=$(receipt "$hash") after=$(cast balance "$who")
  is "$name: type, status, gas" "$type 0x1 $gas" "$(js '[$.type, $.status, Number($.gasUsed)].join(" ")' "$out")"
  is "$name: received" 1234567 "$(cast balance "$to")"
  true_that "$name: the sender paid value and fees" "${before}n - ${after}n === 1234567n + $cost" "$out"
  is "$name: nonce" $((nonce + 1)) "$(cast nonce "$who")"
}
list='[{"address":"0x00000000000000000000000000000000000000aa","storageKeys":["0x0000000000000000000000000000000000000000000000000000000000000001"]}]'
transfer "legacy transfer" 0x0 21000 --legacy
transfer "access-list transfer" 0x1 25300 --legacy --access-list "$list"
transfer "1559 transfer" 0x2 21000 --priority-gas-price 1000000
transfer "1559 transfer with an access list" 0x2 25300 --access-list "$list"

# --- the last of them, from every side ---
out=$(cast rpc eth_getTransactionByHash "$hash")
is "tx: sender" "$who" "$(js '$.from' "$out")"
is "tx: chain id" 0x1633 "$(js '$.chainId' "$out")"
number=$(js 'Number($.blockNumber)' "$out")
raw=$(cast tx "$hash" --raw)
is "tx: the raw form hashes to its hash" "$hash" "$(cast keccak "$raw")"
like "tx: the raw form's sender" "$who" "$(cast decode-transaction "$raw")"
is "block: the header hashes to its hash" "$(cast block "$number" -f hash)" "$(cast keccak "$(cast block "$number" --raw)")"
is "block by hash is block by number" "$(cast block "$number" --json)" "$(cast block "$(cast block "$number" -f hash)" --json)"
is "block lists the transaction" "$hash" "$(js '$.transactions.at(-1).hash' "$(cast block "$number" --full --json)")"
is "receipt: one field" true "$(cast receipt "$hash" status)"
is "no such transaction" null "$(cast rpc eth_getTransactionByHash "$(cast keccak nothing)")"
is "no such block" null "$(cast rpc eth_getBlockByNumber 0xffffffff false)"

# --- raw transactions, the synchronous send, and refusals ---
raw=$(cast mktx "${key[@]}" --value 7 "$(fresh)")
out=$(cast publish --async "$raw"); hash=${out//\"/}
is "publish answers with the hash" "$(cast keccak "$raw")" "$hash"
is "published transaction is mined" true "$(cast receipt "$hash" status)"
fails "publish again is refused" "already known|nonce too low|already imported" cast publish --async "$raw"
out=$(send --sync --value 9 "$(fresh)")
is "synchronous send answers with the receipt" 0x1 "$(js '$.status' "$out")"
fails "a value beyond the balance is refused" "insufficient funds" send --gas-limit 21000 --value 20000ether "$who"
fails "a gas limit below the intrinsic gas is refused" "intrinsic gas|gas too low" send --gas-limit 20000 --value 1 "$who"
raw=$(cast mktx "${key[@]}" --nonce 0 --gas-limit 21000 --value 1 "$who")
fails "an old nonce is refused" "nonce too low" cast publish --async "$raw"

# --- a contract ---
artifact=$E2E_OUT/Probe.sol/Probe.json
bytecode=$(node -p 'require(process.argv[1]).bytecode.object' "$artifact")
runtime=$(node -p 'require(process.argv[1]).deployedBytecode.object' "$artifact")
out=$(send --create "$bytecode")
probe=$(js '$.contractAddress' "$out")
born=$(js 'Number($.blockNumber)' "$out")
is "create: address" "$(cast compute-address "$who" --nonce "$(js 'Number($.nonce)' "$(cast rpc eth_getTransactionByHash "$(js '$.transactionHash' "$out")")")" | sed 's/.*: //')" "$probe"
is "code" "$runtime" "$(cast code "$probe")"
is "code hash" "$(cast keccak "$runtime")" "$(js '$.codeHash' "$(cast proof "$probe")")"
is "no code before" 0x "$(cast code --block $((born - 1)) "$probe")"
is "call" 0 "$(cast call "$probe" 'value()(uint256)')"
gas=$(cast estimate --from "$who" "$probe" 'set(uint256)' 42)
out=$(send --gas-limit "$gas" "$probe" 'set(uint256)' 42)
true_that "the estimate suffices" "\$.status === '0x1' && Number(\$.gasUsed) <= $gas" "$out"
set_in=$(js 'Number($.blockNumber)' "$out") set_hash=$(js '$.transactionHash' "$out")
is "call after" 42 "$(cast call "$probe" 'value()(uint256)')"
is "call in the past" 0 "$(cast call --block "$born" "$probe" 'value()(uint256)')"
is "storage" "$(cast to-uint256 42)" "$(cast storage "$probe" 0)"
is "storage in the past" "$(cast to-uint256 0)" "$(cast storage --block "$born" "$probe" 0)"
is "call returns" 42 "$(cast call --from "$who" "$probe" 'set(uint256)(uint256)' 43)"
is "call sees its context" "5683 $who" \
  "$(cast call --from "$who" "$probe" 'context()(uint256,uint256,uint256,address)' | sed -n '1p;4p' | paste -sd' ')"
fails "revert reason" "refused on purpose" cast call "$probe" 'refuse()'
fails "custom error's data" "$(cast sig 'TooLarge(uint256,uint256)')" cast call "$probe" 'set(uint256)' 2000000000000000000
fails "panic" "overflow|0x11|0x4e487b71" cast call "$probe" 'overflow(uint256)' 1
fails "estimate of a revert" "refused on purpose" cast estimate "$probe" 'refuse()'
fails "an endless loop ends" "gas" cast call --gas-limit 1000000 "$probe" 'spin()'
out=$(send --gas-limit 100000 "$probe" 'refuse()')
true_that "a reverted transaction is mined with status 0" "\$.status === '0x0' && Number(\$.gasUsed) > 21000" "$out"
access=$(cast rpc eth_createAccessList \
  "{\"from\":\"$who\",\"to\":\"$probe\",\"data\":\"$(cast calldata 'set(uint256)' 44)\"}" latest)
true_that "access list names slot 0" \
  "\$.accessList.length === 1 && \$.accessList[0].address.toLowerCase() === '${probe,,}' &&
   BigInt(\$.accessList[0].storageKeys[0]) === 0n && Number(\$.gasUsed) > 21000" "$access"
is "data and input together, when equal" "\"$(cast to-uint256 42)\"" \
  "$(cast rpc eth_call "{\"to\":\"$probe\",\"data\":\"$(cast sig 'value()')\",\"input\":\"$(cast sig 'value()')\"}" latest)"

# --- logs ---
send "$probe" 'set(uint256)' 99 >/dev/null
count() { js '$.length' "$(cast logs --json --from-block "$born" "$@")"; }
event='Set(address indexed by, uint256 indexed value, string note)'
is "logs by address" 2 "$(count --address "$probe")"
is "logs by event" 2 "$(count --address "$probe" "$event")"
is "logs by topic" 1 "$(count --address "$probe" "$event" "$who" 99)"
is "logs by second topic alone" 1 "$(count --address "$probe" "$event" '' 42)"
is "logs by event, anywhere" true "$(js "$(count "$event") >= 2")"
is "logs of another topic" 0 "$(count --address "$probe" "$event" "$who" 100)"
is "logs of one block" 1 "$(js '$.length' "$(cast logs --json --from-block "$set_in" --to-block "$set_in" --address "$probe")")"
is "log's transaction" "$set_hash" "$(js '$[0].transactionHash' "$(cast logs --json --from-block "$born" --address "$probe")")"
is "logs by block hash" 1 "$(js '$.length' \
  "$(cast rpc eth_getLogs "{\"address\":\"$probe\",\"blockHash\":\"$(cast block "$set_in" -f hash)\"}")")"
is "the receipt has the log" 1 "$(js '$.logs.length' "$(receipt "$set_hash")")"

# --- proofs, checked to the last node against the header's state root ---
verify() { # verify BLOCK ADDRESS [SLOT...]
  local block=$1; shift
  cast proof --block "$block" "$@" | node lib/verify-proof.mjs "$(cast block "$block" -f stateRoot)" 2>&1 | tail -1
}
head=$(cast block-number)
is "proof: contract and slots" "account 99 0" "$(verify "$head" "$probe" 0 1)"
is "proof: an account" "account" "$(verify "$head" "$who")"
is "proof: no account" "no account" "$(verify "$head" "$(fresh)")"
is "proof: at an earlier block" "account 42" "$(verify "$set_in" "$probe" 0)"

# --- traces ---
out=$(cast rpc debug_traceTransaction "$set_hash" '{}')
true_that "struct logs" "\$.failed === false && \$.structLogs.length > 20 && \$.structLogs[0].pc === 0 &&
  \$.structLogs.some((step) => step.op === 'SSTORE') && typeof \$.structLogs[0].gasCost === 'number' && \$.gas > 21000" "$out"
out=$(cast rpc debug_traceTransaction "$set_hash" '{"tracer":"callTracer"}')
true_that "callTracer" "\$.type === 'CALL' && \$.from.toLowerCase() === '${who,,}' && \$.to.toLowerCase() === '${probe,,}' &&
  \$.gasUsed === '$(js '$.gasUsed' "$(receipt "$set_hash")")' && BigInt(\$.output) === 0n" "$out"
out=$(cast rpc debug_traceTransaction "$set_hash" '{"tracer":"callTracer","tracerConfig":{"withLog":true}}')
true_that "callTracer with logs" "\$.logs.length === 1 && \$.logs[0].topics.length === 3" "$out"
out=$(cast rpc debug_traceTransaction "$set_hash" '{"tracer":"prestateTracer"}')
true_that "prestateTracer" "\$['${probe,,}'].code === '$runtime' && '${who,,}' in \$" "$out"
out=$(cast rpc debug_traceTransaction "$set_hash" '{"tracer":"prestateTracer","tracerConfig":{"diffMode":true}}')
true_that "prestateTracer's difference" "BigInt(Object.values(\$.post['${probe,,}'].storage)[0]) === 42n" "$out"
out=$(cast rpc debug_traceTransaction "$set_hash" '{"tracer":"4byteTracer"}')
true_that "4byteTracer" "\$['$(cast sig 'set(uint256)')-32'] === 1" "$out"
out=$(cast rpc debug_traceCall "{\"to\":\"$probe\",\"data\":\"$(cast sig 'refuse()')\"}" latest '{"tracer":"callTracer"}')
true_that "debug_traceCall of a revert" "\$.error === 'execution reverted' && \$.revertReason === 'refused on purpose'" "$out"
like "cast run replays" "Transaction successfully executed" "$(cast run "$set_hash" 2>&1)"

finish
