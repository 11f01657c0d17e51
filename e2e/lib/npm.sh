# npm's packages, for bash scripts in e2e/: one folder for each content of the lock files, made once, whichever run comes first.
# Expects $here, the folder e2e. Sets $cache, $npm_dir.
cache=${JOVE_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jove-e2e}
hash_of() { cat "$@" | sha256sum | cut -c1-16; }
npm_dir=$cache/npm-$(hash_of "$here/package.json" "$here/package-lock.json")

# thrice COMMAND...: a registry may be slow to answer.
thrice() { "$@" || { sleep 5; "$@"; } || { sleep 20; "$@"; }; }

install_npm() { # under the lock of $cache
  [[ ! -e $npm_dir/done ]] || return 0
  echo "installing npm packages into $npm_dir"
  rm -rf "$npm_dir" && mkdir -p "$npm_dir"
  cp "$here/package.json" "$here/package-lock.json" "$npm_dir/"
  # Not `npm ci`: it refuses a lock file that lacks other platforms' optional binaries.
  (cd "$npm_dir" && thrice npm install --ignore-scripts --no-audit --no-fund --loglevel=error) ||
    { echo "npm install failed" >&2; exit 1; }
  touch "$npm_dir/done"
}

lock_cache() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
}
unlock_cache() {
  flock -u 9
  exec 9>&-
}
foundry_platform() { # the part of Foundry's package names that is this machine's
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) echo linux-amd64 ;;
    Linux-aarch64) echo linux-arm64 ;;
    Darwin-arm64) echo darwin-arm64 ;;
    Darwin-x86_64) echo darwin-amd64 ;;
    *) echo "Foundry's npm packages have no binaries for this machine" >&2; exit 2 ;;
  esac
}
