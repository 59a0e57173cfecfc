#!/usr/bin/env bash
# A quorate cluster of three nodes on loopback, as a target of the peers' run.sh.
#   quorate.sh start DIR | stop DIR | version | kill-leader DIR | restart-killed DIR
# Environment: PEERS (the peers folder), QUORATE (the program); both set by `run` beside this file.
source "${PEERS:?the peers folder}/lib.sh"
cmd=$1 dir=${2:-}
N=3

launch() {  # node number
  local i=$1
  setsid bash "$dir/cmd.$i" >>"$dir/log.$i" 2>&1 </dev/null &
  echo $! >"$dir/pid.$i"
  cat "$dir"/pid.? >"$dir/pids"
}
quorate() { "${QUORATE:?the program}" "$1" --cluster "$(cat "$dir/eps")" "${@:2}"; }
# Every space of the driver on four shards, as target_quorate.cpp writes the keys.
split_keys() {
  local space part
  for space in acct hot kv ycsb; do
    for part in 0 1 2 3; do [[ $space/$part == acct/0 ]] || echo "$space/$part/"; done
  done
}

case $cmd in
version) "${QUORATE:?the program}" --version ;;
start)
  mkdir -p "$dir"
  mapfile -t p < <(free_ports "$N")
  eps=$(printf '127.0.0.1:%s,' "${p[@]}")
  echo "${eps%,}" >"$dir/eps"
  echo "endpoints=$(tr , ';' <"$dir/eps")" >"$dir/conn"
  for ((i = 0; i < N; i++)); do
    join=$(tr , '\n' <"$dir/eps" | grep -v ":${p[i]}\$" | paste -sd,)
    echo "exec '$QUORATE' node --data '$dir/data.$i' --listen 127.0.0.1:${p[i]} --join $join --log-level warn" >"$dir/cmd.$i"
    launch "$i"
  done
  mapfile -t splits < <(split_keys)
  wait_for 30 quorate init --replicas "$((N < 3 ? N : 3))" --split-at "${splits[@]}"
  wait_for 30 quorate status
  ;;
stop)
  [[ -e $dir/pids ]] || exit 0
  mapfile -t pids <"$dir/pids"
  end_pids "${pids[@]}"
  ;;
kill-leader)  # the node that leads most shards
  address=$(quorate nodes --json | python3 -c '
import json, sys
print(max(json.load(sys.stdin)["nodes"], key=lambda n: n["leads"])["address"])')
  for ((i = 0; i < N; i++)); do grep -q -- "--listen $address " "$dir/cmd.$i" && break; done
  kill -KILL "$(cat "$dir/pid.$i")"
  echo "$i" >"$dir/killed"
  ;;
restart-killed)
  launch "$(cat "$dir/killed")"
  wait_for 30 quorate status
  ;;
*) exit 2 ;;
esac
