#!/usr/bin/env bash
# jove l1: cast sends blobs, and the beacon endpoints give them back. It starts a node of its own. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite starts jove l1: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh

port=$(port)
export ETH_RPC_URL=http://127.0.0.1:$port
"$JOVE_BIN" l1 --datadir "$E2E_WORK/layer1" --http-port "$port" >"$E2E_WORK/layer1.log" 2>&1 &
pid=$!
trap 'kill -INT $pid 2>/dev/null; wait $pid 2>/dev/null' EXIT
until_true 30 cast block-number

# beacon PATH EXPRESSION: evaluates with `$` the parsed answer, which may be too long for a variable.
beacon() {
  node -e 'fetch(process.argv[1]).then((r) => r.json()).then(($) => console.log(String(eval(process.argv[2]))))' \
    "$ETH_RPC_URL/eth/v1/$1" "$2"
}
key=(--private-key "$(cast wallet private-key "$MNEMONIC" 0)")
who=$(cast wallet address "${key[@]}")
to=0x00000000000000000000000000000000000b0b00

is "chain id" 900 "$(cast chain-id)"
is "the accounts are rich" 1000000000000000000000000 "$(cast balance --block 0 "$who")"
first=$(cast block-number)
grown() { [[ $(cast block-number) -gt $first ]]; }
if until_true 15 grown; then pass "blocks come without work"; else fail "blocks come without work" "$first"; fi
head=$(cast block latest --json)
is "the header hashes to its hash" "$(js '$.hash' "$head")" "$(cast keccak "$(cast block "$(js 'Number($.number)' "$head")" --raw)")"
true_that "safe and finalized follow" "$(cast block finalized -f number) <= $(cast block safe -f number)"
is "value transfer" 0x1 "$(js '$.status' "$(cast send --json "${key[@]}" --value 1 "$to")")"

# --- blobs ---
data=$E2E_WORK/two-blobs
seq 1 40000 >"$data" # 229 kB
out=$(cast send --json "${key[@]}" --blob --path "$data" "$to")
is "blobs: type, status, blob gas" "0x3 0x1 262144" "$(js '[$.type, $.status, Number($.blobGasUsed)].join(" ")' "$out")"
hash=$(js '$.transactionHash' "$out")
hashes=$(js '$.blobVersionedHashes.join(",")' "$(cast rpc eth_getTransactionByHash "$hash")")
block=$(cast block "$(js 'Number($.blockNumber)' "$out")" --json)
start=$(beacon beacon/genesis '$.data.genesis_time') seconds=$(beacon config/spec '$.data.SECONDS_PER_SLOT')
slot=$(js "(Number(\$.timestamp) - $start) / $seconds" "$block")
blobs=beacon/blobs/$slot
is "beacon: two blobs of 131,072 bytes" "2 262146 262146" \
  "$(beacon "$blobs" '[$.data.length, ...$.data.map((blob) => blob.length)].join(" ")')"
# cast packs 31 bytes into a field element.
part=$(node -p 'fs.readFileSync(process.argv[1]).subarray(31 * 99, 31 * 100).toString("hex")' "$data")
is "beacon: the first blob has the data" true "$(beacon "$blobs" "\$.data[0].includes('$part')")"
is "beacon: by versioned hash" 1 "$(beacon "$blobs?versioned_hashes=${hashes#*,}" '$.data.length')"
is "beacon: an empty slot" 404 "$(beacon beacon/blobs/8 '$.code')"
fails "the legacy sidecar is refused" "unexpected sidecar version" \
  cast send "${key[@]}" --blob --eip4844 --path "$data" "$to"
finish
