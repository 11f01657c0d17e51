#!/usr/bin/env bash
# The whole ladder, on jove dev's own L1 and on anvil: deposit, transfers, commit, final, withdraw, claimed; sums exact to the wei. A full node
# rebuilds the chain from L1 alone; others take what is final by its proof, and only what is true. Proofs are those of test verifiers. It starts its nodes itself. Run by e2e/run.
set -uo pipefail
: "${JOVE_BIN:?this suite runs jove dev: run it with e2e/run, without --rpc-url and --anvil}"
# shellcheck source=../lib/check.sh
source lib/check.sh
# shellcheck source=../lib/nodes.sh
source lib/nodes.sh

jove() { JOVE_LOG=warn JOVE_CHAIN=$data/chain.json JOVE_L1_URL=$l1 JOVE_L2_URL=$l2 "$JOVE_BIN" "$@"; }

ladder() { # ladder NAME: the chain at $l2 settles on $l1, its data are in $data
  local name=$1 key who inbox bridge before now hash out fresh=0x00000000000000000000000000000000000f00d1 gone=0x00000000000000000000000000000000000f00d2
  local late=0x00000000000000000000000000000000000f00d5
  key=$(cast wallet private-key "$MNEMONIC" 1)
  who=$(cast wallet address --private-key "$key")
  inbox=$(js '$.settlement.inbox' "$(cat "$data/chain.json")") bridge=$(js '$.settlement.bridge' "$(cat "$data/chain.json")")
  export JOVE_PRIVATE_KEY=$key

  before=$(balance "$l2" "$who")
  out=$(jove bridge deposit --amount 5 --wait --timeout 300s 2>&1) || fail "$name: deposit" "$out"
  is "$name: the deposit has arrived" "$(js "(${before}n + 5n * 10n ** 18n).toString()")" "$(balance "$l2" "$who")"

  hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --private-key "$key" --value 1ether "$fresh")")
  is "$name: a transfer" 1000000000000000000 "$(balance "$l2" "$fresh")"
  like "$name: it is executed, or further" "executed|committed|final" "$(rung "$hash")"
  if until_true 60 is_rung "$hash" final; then pass "$name: it is final"; else fail "$name: it is final" "$(rung "$hash")"; fi
  out=$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")
  true_that "$name: every rung says when" '["executed","committed","attested","proven","final"].every((rung) => $.rungs[rung].at > 0)' "$out"
  true_that "$name: the batch is on L1" '$.hash.length == 66 && $.committed.blockNumber > 0 && $.blobs.length > 0' \
    "$(cast rpc --rpc-url "$l2" jove_getBatch "$(js '$.batch' "$out")")"
  true_that "$name: safe and finalized have moved" 'Number($.l2.safe) >= Number($.l2.finalized) && $.l2.finalized > 0' \
    "$(cast rpc --rpc-url "$l2" jove_syncStatus)"
  # Which may move between the two questions.
  named() { [[ $(js '$.l2.finalized' "$(cast rpc --rpc-url "$l2" jove_syncStatus)") == "$(js 'Number($.number)' "$(cast block --json --rpc-url "$l2" finalized)")" ]]; }
  if until_true 15 named; then pass "$name: the tag names the finalized block"; else fail "$name: the tag" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi

  before=$(balance "$l1" "$bridge")
  out=$(jove bridge withdraw --amount 2 --to "$gone" --wait --timeout 300s 2>&1) || fail "$name: withdrawal" "$out"
  is "$name: the withdrawal is paid" 2000000000000000000 "$(balance "$l1" "$gone")"
  now=$(balance "$l1" "$bridge")
  is "$name: the vault has exactly as much less" 2000000000000000000 "$(js "(${before}n - ${now}n).toString()")"

  # A claim that takes long to sign: L1 keeps the root, and anyone sends the call later.
  hash=$(jove bridge withdraw --amount 1 --to "$late" 2>&1 | sed -n 's/^withdrawn in \(0x[0-9a-f]*\).*/\1/p')
  keeps() { out=$(jove bridge keep "$hash" 2>&1); }
  if until_true 60 keeps; then like "$name: a root is kept" "root 0x[0-9a-f]{64} of batch [0-9]+ is kept on L1 now" "$out"; else fail "$name: a root is kept" "$out"; fi
  like "$name: once" "is kept on L1 already: nothing was sent" "$(jove bridge keep "$hash" 2>&1)"
  cast send --rpc-url "$l1" --private-key "$(cast wallet private-key "$MNEMONIC" 2)" "$(awk '$1 == "to" { print $2 }' <<<"$out")" \
    "$(awk '$1 == "data" { print $2 }' <<<"$out")" >/dev/null || fail "$name: the printed call" "$out"
  is "$name: the printed call pays it" 1000000000000000000 "$(balance "$l1" "$late")"

  # A transaction that the sequencer was never sent: queued on L1, without an L2 signature.
  key=$(cast wallet private-key "$MNEMONIC" 2)
  cast send --rpc-url "$l1" --private-key "$key" --value 0.1ether "$inbox" \
    'send(address,bool,uint256,uint256,uint64,bytes)' "$fresh" false 0 3ether 21000 0x >/dev/null || fail "$name: forced" "not queued"
  arrived() { [[ $(balance "$l2" "$fresh") == 4000000000000000000 ]]; }
  if until_true 30 arrived; then pass "$name: a forced transaction"; else fail "$name: a forced transaction" "$(balance "$l2" "$fresh")"; fi

  # A full node knows L1 alone.
  hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --private-key "$key" --value 1 "$fresh")")
  on_l1() { is_rung "$hash" committed || is_rung "$hash" final; }
  until_true 60 on_l1 || fail "$name: committed" "$(rung "$hash")"
  local full number
  full=http://127.0.0.1:$(port)
  JOVE_LOG=info "$JOVE_BIN" node --chain "$data/chain.json" --role full --from-l1 --l1-url "$l1" --datadir "$data-full" \
    --http-port "${full##*:}" >"$data-full.log" 2>&1 &
  pids+=($!)
  number=$(js 'Number($.blockNumber)' "$(cast receipt --json --rpc-url "$l2" "$hash")")
  has() { [[ $(cast block-number --rpc-url "$full" 2>/dev/null) -ge $number ]]; }
  until_true 60 has
  is "$name: rebuilt from L1 to the same hash" "$(cast block --rpc-url "$l2" "$number" --field hash)" \
    "$(cast block --rpc-url "$full" "$number" --field hash 2>&1)"
  is "$name: and the same balance" "$(balance "$l2" "$fresh")" "$(balance "$full" "$fresh" 2>&1)"
  fails "$name: a full node takes no transactions" "not accepted" cast send --rpc-url "$full" --private-key "$key" --value 1 "$fresh"
}

data=$E2E_WORK/settled l2=http://127.0.0.1:$(port) l1=http://127.0.0.1:$(port)
JOVE_LOG=info "$JOVE_BIN" dev --datadir "$data" --http-port "${l2##*:}" --l1-http-port "${l1##*:}" >"$data.log" 2>&1 &
pids+=($!) dev=$!
until_true 60 cast block-number --rpc-url "$l2" || fail "jove dev starts" "$(tail -5 "$data.log")"
ladder "own L1"

# What is final needs no execution: what the blocks did is had from anyone, and has to lead to the hash that was proven.
rich=0x00000000000000000000000000000000000f00d1 number=$(cast block --rpc-url "$l2" safe --field number)
is_finalized() { [[ $(js '$.l2.finalized' "$(cast rpc --rpc-url "$l2" jove_syncStatus)") -ge $number ]]; }
until_true 90 is_finalized || fail "finalized" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"
by_proof() { # by_proof NAME PEER: a full node at $full, with its data in $data-NAME, takes what is final from PEER
  full=http://127.0.0.1:$(port)
  JOVE_LOG=info "$JOVE_BIN" node --chain "$data/chain.json" --role full --from-l1 --l1-url "$l1" --sync-by-proof "$2" --datadir "$data-$1" \
    --http-port "${full##*:}" >"$data-$1.log" 2>&1 &
  pids+=($!)
  has() { [[ $(cast block-number --rpc-url "$full" 2>/dev/null) -ge $number ]]; }
  until_true 60 has
  adopted=$(curl -s --noproxy '*' "$full/metrics" | sed -n 's/^jove_adopted_batches_total //p')
}
by_proof proof "$l2"
true_that "by proof: batches are taken without executing them" "${adopted:-0} > 1" null
is "by proof: the same chain" "$(cast block --rpc-url "$l2" "$number" --field hash)" "$(cast block --rpc-url "$full" "$number" --field hash 2>&1)"
is "by proof: and the same balance" "$(balance "$l2" "$rich")" "$(balance "$full" "$rich" 2>&1)"
liar=http://127.0.0.1:$(port)
node lib/liar.mjs "${liar##*:}" "$l2" "$rich" &
pids+=($!)
until_true 30 serves "$liar"
by_proof liar "$liar"
true_that "of a liar: it did lie" "$(curl -s --noproxy '*' "$liar/lies") > 0" null
like "of a liar: its batches are executed" "a final batch is executed after all" "$(cat "$data-liar.log")"
is "of a liar: the same chain" "$(cast block --rpc-url "$l2" "$number" --field hash)" "$(cast block --rpc-url "$full" "$number" --field hash 2>&1)"
is "of a liar: and the same balance" "$(balance "$l2" "$rich")" "$(balance "$full" "$rich" 2>&1)"

# It goes on after a kill, and the chain is the same.
head=$(cast block --rpc-url "$l2" safe --field hash) number=$(cast block --rpc-url "$l2" safe --field number)
kill -KILL "$dev"; wait "$dev" 2>/dev/null
JOVE_LOG=info "$JOVE_BIN" dev --datadir "$data" --http-port "${l2##*:}" --l1-http-port "${l1##*:}" >>"$data.log" 2>&1 &
pids+=($!)
until_true 60 cast block-number --rpc-url "$l2"
is "after a kill: the same chain" "$head" "$(cast block --rpc-url "$l2" "$number" --field hash)"
hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --mnemonic "$MNEMONIC" --mnemonic-index 3 --value 1 0x00000000000000000000000000000000000f00d3)")
if until_true 60 is_rung "$hash" final; then pass "after a kill: final again"; else fail "after a kill: final again" "$(rung "$hash")"; fi
cast rpc --rpc-url "$l2" evm_increaseTime 1 >/dev/null
true_that "a development method ends settlement, and says so" '$.detached.includes("evm_increaseTime")' "$(cast rpc --rpc-url "$l2" jove_syncStatus)"

# What L1 takes back, the chain takes back, and goes on from there. This L1 may go back by forty blocks.
data=$E2E_WORK/reorganised l2=http://127.0.0.1:$(port) l1=http://127.0.0.1:$(port) fresh=0x00000000000000000000000000000000000f00d4
JOVE_L1_LOG=warn "$JOVE_BIN" l1 --datadir "$data-l1" --http-port "${l1##*:}" --safe-depth 40 --finalized-depth 44 >"$data-l1.log" 2>&1 &
pids+=($!)
until_true 30 cast block-number --rpc-url "$l1"
JOVE_LOG=info "$JOVE_BIN" dev --datadir "$data" --http-port "${l2##*:}" --l1-url "$l1" >"$data.log" 2>&1 &
pids+=($!) dev=$!
until_true 60 cast block-number --rpc-url "$l2" || fail "jove dev starts" "$(tail -5 "$data.log")"
opened=$(js '$.settlement.block' "$(cat "$data/chain.json")")
deep() { [[ $(cast block-number --rpc-url "$l1") -gt $((opened + 12)) ]]; }
until_true 60 deep # so that the opening stays
# take_back BLOCK: L1 has others from this block on, and some before it, for it goes on meanwhile.
take_back() { cast rpc --rpc-url "$l1" anvil_reorg $(($(cast block-number --rpc-url "$l1") - $1 + 6)) '[]' >/dev/null || fail "a reorganisation" "$1"; }
has_ether() { [[ $(balance "$l2" "$fresh") == "$1" ]]; }
before=$(cast block-number --rpc-url "$l1")
JOVE_PRIVATE_KEY=$(cast wallet private-key "$MNEMONIC" 4) jove bridge deposit --amount 1 --to "$fresh" >/dev/null 2>&1
if until_true 30 has_ether 1000000000000000000; then pass "before: a deposit"; else fail "before: a deposit" "$(tail -3 "$data.log")"; fi
block=$(cast block --rpc-url "$l2" latest --field hash)
take_back "$before"
if until_true 60 has_ether 0; then pass "after a reorganisation: it is taken back"; else fail "after a reorganisation" "$(tail -3 "$data.log")"; fi
is "and the node says so of its block" unwound "$(rung "$block")"
JOVE_PRIVATE_KEY=$(cast wallet private-key "$MNEMONIC" 4) jove bridge deposit --amount 2 --to "$fresh" >/dev/null 2>&1
if until_true 60 has_ether 2000000000000000000; then pass "and another arrives"; else fail "and another arrives" "$(tail -3 "$data.log")"; fi
hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --mnemonic "$MNEMONIC" --mnemonic-index 3 --value 1 "$fresh")")
settles() { [[ $(js 'Boolean($.rungs.proven)' "$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")") == true ]]; }
if until_true 60 settles; then pass "and is proven on the new L1"; else fail "and is proven on the new L1" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi

# Above the messages that it consumed, a reorganisation changes no block of the chain: the same batches are committed again.
kill -INT "$dev"; wait "$dev" 2>/dev/null
JOVE_LOG=info "$JOVE_BIN" dev --datadir "$data" --http-port "${l2##*:}" --l1-url "$l1" --l1-depth 30 >>"$data.log" 2>&1 &
pids+=($!)
until_true 60 cast block-number --rpc-url "$l2"
hash=$(js '$.transactionHash' "$(cast send --json --rpc-url "$l2" --mnemonic "$MNEMONIC" --mnemonic-index 3 --value 1 "$fresh")")
committed() { [[ $(js 'Boolean($.rungs.committed)' "$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")") == true ]]; }
until_true 60 committed || fail "committed" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"
before=$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")
batch=$(js '$.hash' "$(cast rpc --rpc-url "$l2" jove_getBatch "$(js '$.batch' "$before")")")
take_back "$(js '$.rungs.committed.l1BlockNumber' "$before")"
place() { js '$.committed.blockHash' "$(cast rpc --rpc-url "$l2" jove_getBatch "$(js '$.batch' "$before")")"; }
again() { local now; now=$(place); [[ $now == 0x* && $now != $(js '$.rungs.committed.l1BlockHash' "$before") ]]; }
if until_true 60 again; then pass "a batch that L1 took back is committed again"; else fail "committed again" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi
is "it is the same batch" "$batch" "$(js '$.hash' "$(cast rpc --rpc-url "$l2" jove_getBatch "$(js '$.batch' "$before")")")"
is "and no block was withdrawn" "$(js '$.rungs.executed.blockHash' "$before")" \
  "$(js '$.rungs.executed.blockHash' "$(cast rpc --rpc-url "$l2" jove_getFinality "$hash")")"
if until_true 60 settles; then pass "and it is proven"; else fail "and it is proven" "$(cast rpc --rpc-url "$l2" jove_syncStatus)"; fi

data=$E2E_WORK/settled-anvil l2=http://127.0.0.1:$(port) l1=http://127.0.0.1:$(port)
anvil --port "${l1##*:}" --chain-id 901 --hardfork osaka --balance 1000000 --block-time 1 --slots-in-an-epoch 2 >"$E2E_WORK/anvil.log" 2>&1 &
pids+=($!)
until_true 30 cast block-number --rpc-url "$l1"
JOVE_LOG=info "$JOVE_BIN" dev --datadir "$data" --http-port "${l2##*:}" --l1-url "$l1" >"$data.log" 2>&1 &
pids+=($!)
until_true 60 cast block-number --rpc-url "$l2" || fail "jove dev starts on anvil" "$(tail -5 "$data.log")"
ladder anvil
finish
