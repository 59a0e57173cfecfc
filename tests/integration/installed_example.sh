#!/bin/sh
# Installs the client library from a build to a fresh prefix, builds client/example against it as an
# outside project, and checks that it reports an unreachable cluster. The last line of output is the
# path of the built example, for a test that has a cluster.
#
# usage: installed_example.sh SOURCE_DIR BUILD_DIR WORK_DIR
#   SOURCE_DIR  this repository;  BUILD_DIR  a built tree (build/release);  WORK_DIR  is emptied
set -eu
if [ $# -ne 3 ]; then
  echo "usage: installed_example.sh SOURCE_DIR BUILD_DIR WORK_DIR" >&2
  exit 2
fi
source_dir=$1
build_dir=$2
work_dir=$3
rm -rf "$work_dir"
mkdir -p "$work_dir"
prefix=$work_dir/prefix

cmake --install "$build_dir" --prefix "$prefix" --component client >"$work_dir/install.log"
# Copied away, so that nothing of the repository can be found by a relative path.
cp -r "$source_dir/client/example" "$work_dir/example"
cmake -S "$work_dir/example" -B "$work_dir/build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_COMPILER=clang++-16 -DCMAKE_C_COMPILER=clang-16 >"$work_dir/configure.log"
cmake --build "$work_dir/build" >"$work_dir/build.log" || {
  cat "$work_dir/build.log"
  exit 1
}
bank=$work_dir/build/bank

status=0
"$bank" 127.0.0.1:1 total 2>"$work_dir/unreachable.log" || status=$?
if [ "$status" -ne 1 ] || ! grep -q '^UNAVAILABLE: .*127\.0\.0\.1:1' "$work_dir/unreachable.log"; then
  echo "an unreachable cluster: exit $status, said:" >&2
  cat "$work_dir/unreachable.log" >&2
  exit 1
fi
echo "$bank"
