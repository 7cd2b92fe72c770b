#!/usr/bin/env bash
# The node of a test cluster: a set of namespaces held by one process.
#
# All of the cluster lives below this process: its own PID, mount, network, cgroup, IPC and host name namespaces. When the
# process dies the kernel kills every other one in the PID namespace, and with the last of them go the mounts and the network.
# So nothing has to be searched for in order to take a cluster down, and a crash at any point leaves the same state as a stop.
#
# node.sh outer NAME STATE PAUSE  on the host: writes down who it is, enters the node's cgroups, makes the namespaces
# node.sh inner NAME STATE PAUSE  process 1 inside: mounts, then waits for ever
set -euo pipefail
name=$2 state=$3 pause=$4
cgroup=kdbg-$name

# hierarchies: the mounted cgroup hierarchies as lines of: MOUNTPOINT TYPE CONTROLLERS
hierarchies() {
  findmnt --raw --noheadings --types cgroup,cgroup2 --output TARGET,FSTYPE,FS-OPTIONS | while read -r target type options; do
    printf '%s %s %s\n' "$target" "$type" "$(tr , '\n' <<<"$options" | grep -vE '^(rw|ro|xattr|nsdelegate|memory_recursiveprot|memory_localevents|release_agent=.*)$' | paste -sd, -)"
  done
}

outer() {
  # The start time tells this process from a later one with the same number.
  printf '%s %s\n' "$$" "$(awk '{ print $22 }' /proc/$$/stat)" >"$state/run/node.pid"
  local target type controllers file
  hierarchies >"$state/run/hierarchies"
  while read -r target type controllers; do
    if [[ $type == cgroup2 && -s $target/cgroup.controllers ]]; then
      for file in $(<"$target/cgroup.controllers"); do
        echo "+$file" >"$target/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
    mkdir -p "$target/$cgroup"
    # A new cpuset of version 1 is empty and takes no process before it has processors and memory nodes.
    for file in cpuset.cpus cpuset.mems; do
      if [[ -e $target/$cgroup/$file && $type == cgroup ]]; then cat "$target/$file" >"$target/$cgroup/$file"; fi
    done
    echo $$ >"$target/$cgroup/cgroup.procs"
  done <"$state/run/hierarchies"
  exec unshare --cgroup --mount --uts --ipc --net --pid --fork --kill-child --mount-proc \
    bash "$0" inner "$name" "$state" "$pause"
}

inner() {
  # Own peer groups: the host sees none of these mounts, pods with mount propagation see each other's.
  mount --make-rshared /
  mount_cgroups
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock /run/netns
  # Real paths of a real node, on the disk of the state folder. Also: the way there is open to user namespaces, which the
  # folder of a user may not be.
  mount --bind "$state/var-lib" /var/lib
  mount --bind "$state/var-log" /var/log
  keep_sysctls
  hostname "$name-node"
  ip link set lo up
  echo 1 >/proc/sys/net/ipv4/ip_forward
  touch "$state/run/node.ready"
  exec -a "kdbg-node-$name" "$pause"
}

# mount_cgroups: shows the node its own part of each hierarchy as if it were all of it; sysfs is the one of the new network.
mount_cgroups() {
  local target type controllers link
  mount -t sysfs sysfs /sys
  if [[ $(wc -l <"$state/run/hierarchies") -gt 1 ]]; then mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup; fi
  while read -r target type controllers; do
    mkdir -p "$target"
    if [[ $type == cgroup2 ]]; then
      mount -t cgroup2 cgroup2 "$target"
    else
      if [[ $controllers == name=* ]]; then controllers=none,$controllers; fi
      mount -t cgroup -o "$controllers" cgroup "$target"
    fi
    if [[ $controllers == *,* && $controllers != none,* ]]; then
      for link in ${controllers//,/ }; do ln -sfn "${target##*/}" "/sys/fs/cgroup/$link"; done
    fi
    # The programs of the node get a group of their own: version 2 allows no processes beside child groups.
    mkdir -p "$target/node"
    for file in cpuset.cpus cpuset.mems; do
      if [[ -e $target/node/$file && $type == cgroup ]]; then cat "$target/$file" >"$target/node/$file"; fi
    done
    echo $$ >"$target/node/cgroup.procs"
  done <"$state/run/hierarchies"
}

# keep_sysctls: the kubelet wants these values and would set them for the whole machine; here it reads them from files.
keep_sysctls() {
  local key value
  while read -r key value; do
    [[ -e /proc/sys/$key ]] || continue
    echo "$value" >"$state/run/${key//\//.}"
    mount --bind "$state/run/${key//\//.}" "/proc/sys/$key"
  done <<'SYSCTLS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTLS
  # The kernel lets a user namespace mount proc only while it sees a proc with nothing mounted over it
  # (mount_too_revealing in fs/namespace.c). Pods with hostUsers: false need that.
  mkdir /run/proc
  mount -t proc proc /run/proc
}

"$1"
