# What suites that run nodes of their own share. Sourced after check.sh, never run.

# Processes that end with the suite.
pids=()
trap 'kill -INT ${pids[@]+"${pids[@]}"} 2>/dev/null; wait' EXIT

# key N: the private key of a development account.
key() { cast wallet private-key "$MNEMONIC" "$1"; }
# serves URL: it answers.
serves() { cast block-number --rpc-url "$1"; }
# balance URL WHO: in wei.
balance() { cast balance --rpc-url "$1" "$2"; }
# rollup SIGNATURE ARGUMENT...: what the contract at $contract on $l1 says.
rollup() { cast call --rpc-url "$l1" "$contract" "$@"; }
# rung HASH: the rung of a transaction on $l2.
rung() { js '$.rung' "$(cast rpc --rpc-url "$l2" jove_getFinality "$1")"; }
is_rung() { [[ $(rung "$1") == "$2" ]]; }
