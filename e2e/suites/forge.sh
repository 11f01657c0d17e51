#!/usr/bin/env bash
# forge: `forge create` and `forge script --broadcast` of OpenZeppelin's ERC-20 and ERC-721. Run by e2e/run.
set -uo pipefail
: "${RPC_URL:?run this suite with e2e/run}"
# shellcheck source=../lib/check.sh
source lib/check.sh

deployer=$(cast wallet address --mnemonic "$MNEMONIC" --mnemonic-index 2)
key=(--private-key "$(cast wallet private-key "$MNEMONIC" 2)")
call() { cast call "$@" | sed 's/ \[.*\]$//; s/^"\(.*\)"$/\1/'; } # without cast's annotations
units() { cast to-wei "$1"; }
RECIPIENT=$(js '$[0].address' "$(cast wallet new --json)")
export RECIPIENT
cd foundry || exit 1

created() { # created NAME CONTRACT ARGS...: deploys, leaves the address in $address
  local name=$1 contract=$2 out
  shift 2
  if ! out=$(forge create --json --broadcast --rpc-url "$RPC_URL" "${key[@]}" "$contract" --constructor-args "$@" 2>&1); then
    fail "forge create $name" "$out"
    address="" && return
  fi
  out=$(sed -n '/^{/,/^}/p' <<<"$out")
  address=$(js '$.deployedTo' "$out")
  is "forge create $name: deployer" "$deployer" "$(js '$.deployer' "$out")"
  is "forge create $name: receipt" true "$(cast receipt "$(js '$.transactionHash' "$out")" status)"
  is "forge create $name: code" \
    "$(node -p 'require(process.argv[1]).deployedBytecode.object' "$E2E_OUT/$(basename "${contract%:*}")/${contract#*:}.json")" \
    "$(cast code "$address")"
}

created ERC-20 src/Token.sol:Token "Jove Test" JTT "$(units 1000)"
token=$address
is "ERC-20: name" "Jove Test" "$(call "$token" 'name()(string)')"
is "ERC-20: symbol" JTT "$(call "$token" 'symbol()(string)')"
is "ERC-20: decimals" 18 "$(call "$token" 'decimals()(uint8)')"
is "ERC-20: supply" "$(units 1000)" "$(call "$token" 'totalSupply()(uint256)')"
out=$(cast send --json "${key[@]}" "$token" 'transfer(address,uint256)' "$RECIPIENT" "$(units 10)")
is "ERC-20: transfer's log" "$(cast keccak 'Transfer(address,address,uint256)')" "$(js '$.logs[0].topics[0]' "$out")"
is "ERC-20: recipient" "$(units 10)" "$(call "$token" 'balanceOf(address)(uint256)' "$RECIPIENT")"
is "ERC-20: deployer" "$(units 990)" "$(call "$token" 'balanceOf(address)(uint256)' "$deployer")"
fails "ERC-20: no transfer beyond the balance" "ERC20InsufficientBalance|0xe450d38c" \
  cast send "${key[@]}" "$token" 'transfer(address,uint256)' "$RECIPIENT" "$(units 10000)"

created ERC-721 src/Nft.sol:Nft "Jove Art" JART
nft=$address
cast send "${key[@]}" "$nft" 'mint(address,string)' "$RECIPIENT" ipfs://zero >/dev/null
is "ERC-721: owner" "$RECIPIENT" "$(call "$nft" 'ownerOf(uint256)(address)' 1)"
is "ERC-721: URI" ipfs://zero "$(call "$nft" 'tokenURI(uint256)(string)' 1)"
is "ERC-721: ERC-165" true "$(call "$nft" 'supportsInterface(bytes4)(bool)' 0x80ac58cd)"
fails "ERC-721: only the owner mints" "OwnableUnauthorizedAccount|0x118cdaa7" \
  cast call --from "$RECIPIENT" "$nft" 'mint(address,string)' "$RECIPIENT" x

nonce=$(cast nonce "$deployer")
if out=$(forge script script/Deploy.s.sol:Deploy --broadcast --rpc-url "$RPC_URL" "${key[@]}" --sender "$deployer" 2>&1); then
  pass "forge script --broadcast"
else
  fail "forge script --broadcast" "$(tail -8 <<<"$out")"
fi
is "forge script: seven transactions" $((nonce + 7)) "$(cast nonce "$deployer")"
log=broadcast/Deploy.s.sol/5683/run-latest.json
field() { node -e 'const $ = JSON.parse(require("fs").readFileSync(process.argv[1]));
  console.log(String(eval(process.argv[2])))' "$log" "$1"; }
is "forge script: all receipts" 7,true "$(field '[$.receipts.length, $.receipts.every((one) => Number(one.status) === 1)]')"
token=$(field '$.transactions[0].contractAddress')
nft=$(field '$.transactions[1].contractAddress')
is "forge script: ERC-20 recipient" "$(units 300)" "$(call "$token" 'balanceOf(address)(uint256)' "$RECIPIENT")"
is "forge script: ERC-20 supply" "$(units 1000050)" "$(call "$token" 'totalSupply()(uint256)')"
is "forge script: ERC-721 transferred" "$RECIPIENT" "$(call "$nft" 'ownerOf(uint256)(address)' 1)"
is "forge script: ERC-721 kept" "$deployer" "$(call "$nft" 'ownerOf(uint256)(address)' 2)"
is "forge script: ERC-721 minted" 2 "$(call "$nft" 'minted()(uint256)')"

finish
