#!/bin/sh
# Installs the client library from a build to a fresh prefix and uses it from outside:
#   client/example, a small service, by find_package and by pkg-config, and
#   tests/client/outside, one whose macros, names, headers and protos could meet ours, with the
#   snippets of docs/embedding.md.
# Both report an unreachable cluster. With CLUSTER, the example also runs there: accounts are opened,
# money moves between them, and the total stays.
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

# The same by pkg-config, from a prefix that was moved meanwhile.
mv "$prefix" "$work_dir/moved"
prefix=$work_dir/moved
pc_path=$(dirname "$(find "$prefix" -name quorate.pc)")
pc() { PKG_CONFIG_PATH=$pc_path pkg-config "$@" quorate; }
expect "$(sed -n 's/^Version: //p' "$pc_path/quorate.pc")" "$(pc --modversion)" "version"
# shellcheck disable=SC2046,SC2086
clang++-16 -O1 $flags $(pc --cflags) "$work_dir/example/main.cc" -o "$work_dir/bank_pc" \
  -fuse-ld=lld $(pc --libs)
status=0
"$work_dir/bank_pc" 127.0.0.1:1 total 2>"$work_dir/unreachable_pc.log" || status=$?
expect 1 "$status" "exit of the example built by pkg-config"

# What protoc defines for options.proto carries the file's own name.
if grep -rn '^ *# *define' "$prefix/include" | grep -v 'define QUORATE_' |
  grep -v '/quorate/options\.pb\.h:.*_quorate_2foptions_2eproto$'; then
  echo "a public header defines a macro that is not named QUORATE_..." >&2
  exit 1
fi

cp -r "$source_dir/tests/client/outside" "$work_dir/outside"
awk '/^```cpp/ { on = 1; next } /^```/ { on = 0 } on' "$source_dir/docs/embedding.md" \
  >"$work_dir/outside/snippets.cc"
cmake -S "$work_dir/outside" -B "$work_dir/outside/build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_COMPILER=clang++-16 -DCMAKE_C_COMPILER=clang-16 \
  -DCMAKE_CXX_FLAGS="$flags" >"$work_dir/configure_outside.log"
cmake --build "$work_dir/outside/build" >"$work_dir/build_outside.log" || {
  cat "$work_dir/build_outside.log"
  exit 1
}
"$work_dir/outside/build/outside" 127.0.0.1:1 | grep -q '^UNAVAILABLE: ' || {
  echo "tests/client/outside failed" >&2
  exit 1
}

# The way from a .proto to a service, as docs/schema.md (file, code) and docs/embedding.md (CMake) tell it.
shop=$work_dir/shop
mkdir -p "$shop"
indented() { awk -v first="$2" 'index($0, "    " first) == 1 { on = 1 } on && !/^    / { exit } on { print substr($0, 5) }' "$1"; }
indented "$source_dir/docs/schema.md" 'syntax = "proto3";' >"$shop/shop.proto"
{
  echo 'cmake_minimum_required(VERSION 3.22)'
  echo 'project(shop CXX)'
  tail -n +"$(grep -n '^With \[tables\]' "$source_dir/docs/embedding.md" | cut -d: -f1)" "$source_dir/docs/embedding.md" |
    awk '/^    / { on = 1; print substr($0, 5); next } on { exit }'
} >"$shop/CMakeLists.txt"
{
  echo '#include <quorate/database.h>'
  echo '#include <quorate/table.h>'
  echo '#include "shop.pb.h"'
  echo 'quorate::client::CommitResult Take(quorate::client::Database* db) {'
  awk '/^```cpp/ { on = 1; next } /^```/ { if (on) exit } on' "$source_dir/docs/schema.md"
  echo 'return done; }'
  echo 'int main() { return 0; }'
} >"$shop/main.cc"
cmake -S "$shop" -B "$shop/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER=clang++-16 \
  -DCMAKE_CXX_FLAGS="$flags" >"$work_dir/configure_shop.log"
cmake --build "$shop/build" >"$work_dir/build_shop.log" || {
  cat "$work_dir/build_shop.log"
  exit 1
}
echo "built against the installed library: $bank, by pkg-config, tests/client/outside, and the shop of docs/schema.md"
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
