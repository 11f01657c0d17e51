# A batch whose blob is no batch, by whoever may commit. Sourced, never run.

# garbage L1_URL ROLLUP INBOX KEY FILE [BLOCK HASH]: commits random bytes, by way of FILE, as the batch after the last one, with all messages and a last block that
# nobody has, or this one.
garbage() {
  local l1=$1 rollup=$2 inbox=$3 key=$4 file=$5 head stored parent block l1_block hash
  head=$(cast call --rpc-url "$l1" "$rollup" 'headIndex()(uint64)')
  stored=$(cast call --rpc-url "$l1" "$rollup" 'batchAt(uint64)((bytes32,bytes32,uint64,uint64,uint64,uint64))' "$head" | tr -d '() ' | sed 's/\[[^]]*\]//g')
  IFS=, read -r parent _ _ block _ _ <<<"$stored"
  block=${6:-$((block + 1))} hash=${7:-0x$(openssl rand -hex 32)}
  l1_block=$(cast block --json --rpc-url "$l1" latest)
  head -c 1000 /dev/urandom >"$file"
  cast send --rpc-url "$l1" --private-key "$key" --blob --path "$file" "$rollup" \
    'commit((bytes32,bytes32,uint64,uint64,uint64,uint64,bytes32),bytes)' \
    "($parent,$hash,$block,$(js 'Number($.timestamp)' "$l1_block"),$(cast call --rpc-url "$l1" "$inbox" 'length()(uint64)'),$(js 'Number($.number)' "$l1_block"),$(js '$.hash' "$l1_block"))" 0x
}
