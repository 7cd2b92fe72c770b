#!/usr/bin/env bash
# Shows that `scripts/cluster down` leaves the machine as it was: after a normal life with pods, after a second `down`, after
# a kill -9 of `up` at several moments, and after a kill -9 of what holds the node. Needs root; takes about two minutes.
set -euo pipefail

SCRIPTS=$(cd "$(dirname "$(readlink -f "$0")")/../../scripts" && pwd)
SCRIPT_NAME=leftovers
# shellcheck source=../../scripts/lib/common.sh
. "$SCRIPTS/lib/common.sh"
NAME=kdbg-leftovers
WORK=$(mktemp -d)
trap 'cluster down; rm -rf "$WORK"' EXIT

cluster() { "$SCRIPTS/cluster" --name "$NAME" "$@" 2>>"$WORK/messages"; }

# snapshot FILE: what a cluster could leave on this machine. Processes are those that bear its name, are of its programs, or
# are in its cgroups; other clusters are left out, as they may come and go meanwhile.
snapshot() {
  {
    echo "== ip netns"
    ip netns list
    echo "== network interfaces and addresses"
    ip -oneline address | sed -E 's/^[0-9]+: //; s/ valid_lft.*//' | grep -v "^kdbg"
    echo "== routes"
    ip route show table all | grep -v "dev kdbg"
    echo "== mounts"
    awk '{ print $2, $3 }' /proc/self/mounts
    echo "== nft"
    nft list ruleset
    echo "== iptables"
    iptables-save 2>/dev/null | grep -v '^#' || true
    echo "== cgroups"
    find /sys/fs/cgroup -type d | grep -F "$NAME" || true
    echo "== namespaces that are held by a process or a mount of the cluster, and its processes"
    processes
    echo "== sysctls that a kubelet sets"
    (cd /proc/sys && head -n 1 vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_max* net/ipv4/ip_forward)
    echo "== folders that a runtime makes"
    ls -d /run/containerd /var/lib/{cni,containerd,kubelet} /var/log/pods /etc/cni /opt/{cni,containerd} /run/flannel 2>/dev/null || true
    echo "== links to nodes that have no lease"
    for link in /sys/class/net/kdbg*; do
      if [[ -e $link && ! -e /run/kdbg-cluster/${link#*/kdbg} ]]; then echo "$link"; fi
    done
    echo "== leases"
    grep -l "/$NAME\$" /run/kdbg-cluster/* 2>/dev/null || true
  } >"$1"
}

# processes: those whose command line or cgroup has the cluster's name, and those in a network namespace with its addresses.
processes() {
  local folder pid
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    if [[ $pid != "$$" && $pid != "$BASHPID" ]] && { tr '\0' ' ' <"$folder/cmdline" | grep -qF -- "clusters/$NAME" || grep -qF "kdbg-$NAME" "$folder/cgroup"; } 2>/dev/null; then
      echo "$pid $(tr '\0' ' ' <"$folder/cmdline")"
    fi
  done
}

compare() {
  snapshot "$WORK/after"
  if ! diff -u "$WORK/before" "$WORK/after" >"$WORK/diff"; then
    cat "$WORK/diff"
    die "$1: the machine is not as before"
  fi
  say "$1: as before"
}

start_pods() {
  cluster kubectl apply --filename - >/dev/null <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: app, image: "kdbg.local/pause:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec: {hostNetwork: true, containers: [{name: app, image: "kdbg.local/pause:1", ports: [{containerPort: 7000, hostPort: 7000}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {type: NodePort, ports: [{port: 80}], selector: {app: one}}
YAML
  cluster kubectl wait --for=condition=Ready --timeout=60s pod/one pod/two >/dev/null
}

need_root
cluster down
snapshot "$WORK/before"

cluster up || { cat "$WORK/messages" && exit 1; }
[[ -n $(processes) ]] || die "this test does not see the processes of the cluster"
start_pods
cluster up
cluster down
compare "after up, pods, up and down"
cluster down
compare "after a second down"

for delay in 0.3 1.5 3 5; do
  "$SCRIPTS/cluster" --name "$NAME" up >/dev/null 2>&1 &
  up=$!
  sleep "$delay"
  kill -KILL "$up" 2>/dev/null || true
  wait "$up" 2>/dev/null || true
  cluster down
  compare "after kill -9 of up at $delay s and down"
done

cluster up
start_pods
read -r holder _ <"$KDBG_CACHE/clusters/$NAME/run/node.pid"
kill -KILL "$holder"
for ((i = 0; i < 100; i++)); do
  left=$(processes)
  if [[ -z $left ]]; then break; fi
  sleep 0.1
done
[[ -z $left ]] || die "processes outlive the one that holds the node: $left"
say "after kill -9 of the node's holder: no process of it is left"
cluster down
compare "after kill -9 of the node's holder and down"
