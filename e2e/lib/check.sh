# Named checks for the shell suites, and the suite's verdict. Sourced, never run.

passed=0
failed=0

pass() { passed=$((passed + 1)); echo "ok    $1"; }
fail() { failed=$((failed + 1)); echo "FAIL  $1: ${2//$'\n'/ | }" | cut -c1-600; }

# is NAME EXPECTED ACTUAL: equal, letter case aside (addresses come checksummed and not).
is() { if [[ "${2,,}" == "${3,,}" ]]; then pass "$1"; else fail "$1" "expected '$2', got '$3'"; fi; }

# like NAME REGEX ACTUAL: matches an extended regular expression, letter case aside.
like() { if [[ "${3,,}" =~ ${2,,} ]]; then pass "$1"; else fail "$1" "expected /$2/, got '$3'"; fi; }

# succeeds NAME COMMAND...: exits 0.
succeeds() { local name=$1 out; shift; if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "$out"; fi; }

# fails NAME REGEX COMMAND...: exits non-zero and says why.
fails() {
  local name=$1 want=$2 out; shift 2
  if out=$("$@" 2>&1); then fail "$name" "expected a failure, got '$out'"; else like "$name" "$want" "$out"; fi
}

# js EXPRESSION [JSON]: evaluates with `$` the parsed JSON (default: null). Numbers beyond 2^53 are BigInt literals.
js() { J="${2:-null}" node -p "const \$ = JSON.parse(process.env.J); String($1)" 2>&1 | grep -m1 -vE '^(\[eval\]|undefined:1|<anonymous_script>|.*\^|$)'; }

# sent ARGUMENTS: the receipt of `cast send`, or why there is none. What cast logs on the way is no part of it.
sent() { local log=$E2E_WORK/cast.$BASHPID; cast send --json "$@" 2>"$log" || cat "$log"; }

# true_that NAME EXPRESSION [JSON]: the JavaScript expression is true.
true_that() {
  local out; out=$(js "$2" "${3:-null}" 2>&1)
  if [[ "$out" == true ]]; then pass "$1"; else fail "$1" "$2 is not true: $(tail -1 <<<"$out") for ${3:-null}"; fi
}

# A free port, which no other suite of this run is given.
port() { python3 lib/ports.py; }

# until_true SECONDS COMMAND...: tries until it succeeds, or for so long on an idle machine; a busy one is given four times that.
until_true() {
  local end=$((SECONDS + 4 * $1)); shift
  while :; do
    "$@" >/dev/null 2>&1 && return 0
    ((SECONDS < end)) || return 1
    sleep 0.3
  done
}

finish() { echo "$passed passed, $failed failed"; [[ $failed -eq 0 && $passed -gt 0 ]]; exit; }
