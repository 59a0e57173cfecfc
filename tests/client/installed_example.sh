#!/bin/sh
# Installs the client library from a build to a fresh prefix, builds client/example against it as an
# outside project, and checks that it reports an unreachable cluster. With CLUSTER, also runs it
# there: accounts are opened, money moves between them, and the total stays.
#
# usage: installed_example.sh BUILD_DIR WORK_DIR [CLUSTER]
#   BUILD_DIR  a built tree (build/release);  WORK_DIR  is filled;  CLUSTER  HOST:PORT,...
set -eu
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  echo "usage: installed_example.sh BUILD_DIR WORK_DIR [CLUSTER]" >&2
  exit 2
fi
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build_dir=$1
work_dir=$2
cluster=${3-}
prefix=$work_dir/prefix
mkdir -p "$work_dir"

cmake --install "$build_dir" --prefix "$prefix" --component client >"$work_dir/install.log"
# A library with a sanitizer in it asks for programs that have it, too.
flags=$(sed -n 's/^CMAKE_CXX_FLAGS:[A-Z]*=//p' "$build_dir/CMakeCache.txt")
# Copied away, so that nothing of the repository can be found by a relative path.
cp -r "$source_dir/client/example" "$work_dir/example"
cmake -S "$work_dir/example" -B "$work_dir/build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_COMPILER=clang++-16 -DCMAKE_C_COMPILER=clang-16 \
  -DCMAKE_CXX_FLAGS="$flags" >"$work_dir/configure.log"
cmake --build "$work_dir/build" >"$work_dir/build.log" || {
  cat "$work_dir/build.log"
  exit 1
}
bank=$work_dir/build/bank

expect() {
  if [ "$1" != "$2" ]; then
    echo "$3: expected '$1', got '$2'" >&2
    exit 1
  fi
}

status=0
"$bank" 127.0.0.1:1 total 2>"$work_dir/unreachable.log" || status=$?
if [ "$status" -ne 1 ] || ! grep -q '^UNAVAILABLE: .*127\.0\.0\.1:1' "$work_dir/unreachable.log"; then
  echo "an unreachable cluster: exit $status, said:" >&2
  cat "$work_dir/unreachable.log" >&2
  exit 1
fi
echo "built against the installed library: $bank"
[ -n "$cluster" ] || exit 0

"$bank" "$cluster" open 50 100
expect 5000 "$("$bank" "$cluster" total)" "total after opening"
"$bank" "$cluster" transfer 1 2 30
expect 70 "$("$bank" "$cluster" balance 1)" "balance of the payer"
expect 130 "$("$bank" "$cluster" balance 2)" "balance of the payee"
status=0
"$bank" "$cluster" transfer 1 2 1000 2>"$work_dir/refused.log" || status=$?
expect 1 "$status" "exit of a transfer that the balance does not allow"
"$bank" "$cluster" churn 4 50
expect 5000 "$("$bank" "$cluster" total)" "total at the end"
