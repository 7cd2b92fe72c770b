# shellcheck shell=bash
# Starting the programs of the node, waiting for them, and telling which one failed and what it last said.

COMPONENTS=(etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns)

# in_node COMMAND…: runs a command inside the node's namespaces.
in_node() {
  PATH=${PROGRAMS:+$PROGRAMS:}$PATH nsenter --target "$(node_init)" --mount --uts --ipc --net --pid --cgroup --wd=/ -- "$@"
}

# in_network COMMAND…: runs a command of the host inside the node's network only.
in_network() { nsenter --target "$(node_init)" --net -- "$@"; }

kubectl() { KUBECONFIG=$STATE/kubeconfig "$HYPERKUBE/kubectl" "$@"; }

# node_process: prints the pid of the process that holds the node, if it is alive and is the one that was started.
node_process() {
  local pid start
  [[ -s $STATE/run/node.pid ]] || return 1
  read -r pid start <"$STATE/run/node.pid"
  [[ -e /proc/$pid/stat && $(awk '{ print $22 }' "/proc/$pid/stat" 2>/dev/null) == "$start" ]] || return 1
  printf '%s\n' "$pid"
}

# node_init: prints the host's number of the node's process 1.
node_init() {
  local outer
  outer=$(node_process) && pgrep --parent "$outer"
}

# launch COMPONENT COMMAND…: starts a program inside the node and writes down its pid (as the node counts) and start time.
launch() {
  local component=$1
  printf '%s\0' "$@" >"$STATE/run/$component.command"
  # The single quotes are meant: all of this is evaluated inside the node.
  # shellcheck disable=SC2016
  in_node bash -c '
    state=$1 component=$2
    shift 2
    for procs in /sys/fs/cgroup/node/cgroup.procs /sys/fs/cgroup/*/node/cgroup.procs; do
      if [[ -e $procs ]]; then echo $$ >"$procs"; fi
    done
    setsid "$@" </dev/null >>"$state/log/$component.log" 2>&1 &
    echo "$! $(awk "{ print \$22 }" /proc/$!/stat)" >"$state/run/$component.pid"
  ' launch "$STATE" "$@" 9>&- || fail "$component" "could not be started"
}

# relaunch COMPONENT: starts a dead program with the arguments that it had.
relaunch() {
  local words
  mapfile -d "" -t words <"$STATE/run/$1.command"
  launch "${words[@]}"
}

# component_pid COMPONENT: prints its pid inside the node, if it runs.
component_pid() {
  local pid start init
  init=$(node_init) && [[ -s $STATE/run/$1.pid ]] || return 1
  read -r pid start <"$STATE/run/$1.pid"
  # /proc/INIT/root is the node's file system, and the /proc in it counts as the node does
  [[ $(awk '{ print $3, $22 }' "/proc/$init/root/proc/$pid/stat" 2>/dev/null) =~ ^[^Z]\ $start$ ]] || return 1
  printf '%s\n' "$pid"
}

# wait_for COMPONENT SECONDS WHAT COMMAND…: until the command succeeds; ends at once when the program is gone.
wait_for() {
  local component=$1 seconds=$2 what=$3 deadline
  shift 3
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    component_pid "$component" >/dev/null || fail "$component" "ended while waiting until $what"
    ((SECONDS < deadline)) || fail "$component" "is running, but after $seconds s it is not true that $what"
    sleep 0.1
  done
}

# fail COMPONENT REASON: names the component, shows the end of its log, and leaves nothing half started.
fail() {
  say "error: $1 $2"
  if [[ -s $STATE/log/$1.log ]]; then
    say "the last lines of $STATE/log/$1.log:"
    tail -n 15 "$STATE/log/$1.log" | cut -c1-400 | sed 's/^/    /' >&2
  fi
  say "stopping what was started; the logs stay in $STATE/log"
  stop
  exit 1
}

port_open() { in_network bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; }

# write_config NAME: fills a template of cluster.d/config into the state folder and prints where it is.
write_config() {
  local name=$1 key text
  text=$(<"$HERE/cluster.d/config/$name.in")
  for key in STATE PKI NODE_IP NODE_NAME POD_CIDR DNS_IP CNI_PLUGINS RESTRICT_OOM; do text=${text//@$key@/${!key:-}}; done
  printf '%s\n' "$text" >"$STATE/etc/$name"
  printf '%s\n' "$STATE/etc/$name"
}

start_etcd() {
  launch etcd etcd --data-dir=/var/lib/etcd --name=kdbg --logger=zap --unsafe-no-fsync \
    --listen-client-urls=https://127.0.0.1:2379 --advertise-client-urls=https://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --client-cert-auth --trusted-ca-file="$PKI/etcd-ca.crt" \
    --cert-file="$PKI/etcd.crt" --key-file="$PKI/etcd.key"
}

start_containerd() {
  RESTRICT_OOM=false
  # Where even root may not lower a process's oom_score_adj (no CAP_SYS_RESOURCE, bit 24), runc could not start a container.
  if ! ((0x$(awk '/^CapEff/ { print $2 }' /proc/self/status) >> 24 & 1)); then RESTRICT_OOM=true; fi
  mkdir -p "$STATE/etc/cni"
  mv "$(write_config cni.conflist)" "$STATE/etc/cni/10-kdbg.conflist"
  launch containerd containerd --config "$(write_config containerd.toml)"
}

start_apiserver() {
  launch kube-apiserver kube-apiserver --etcd-servers=https://127.0.0.1:2379 --etcd-cafile="$PKI/etcd-ca.crt" \
    --etcd-certfile="$PKI/etcd-client.crt" --etcd-keyfile="$PKI/etcd-client.key" \
    --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP" --service-cluster-ip-range="$SERVICE_CIDR" \
    --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/kube-apiserver.crt" --tls-private-key-file="$PKI/kube-apiserver.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --anonymous-auth=false --allow-privileged=true \
    --kubelet-client-certificate="$PKI/kubelet-client.crt" --kubelet-client-key="$PKI/kubelet-client.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$PKI/service-account.pub" \
    --service-account-signing-key-file="$PKI/service-account.key" --profiling=false \
    --audit-policy-file="$HERE/cluster.d/config/audit.yaml" --audit-log-path="$AUDIT_LOG" --audit-log-mode=blocking \
    --audit-log-maxsize=200 --audit-log-maxbackup=1
}

start_controller_manager() {
  launch kube-controller-manager kube-controller-manager --kubeconfig="$PKI/kube-controller-manager.conf" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials --root-ca-file="$PKI/ca.crt" \
    --service-account-private-key-file="$PKI/service-account.key" --cluster-cidr="$POD_CIDR" --allocate-node-cidrs=false
}

start_scheduler() {
  launch kube-scheduler kube-scheduler --kubeconfig="$PKI/kube-scheduler.conf" --bind-address=127.0.0.1 --leader-elect=false
}

start_kubelet() {
  printf 'nameserver %s\n' "$DNS_IP" >"$STATE/etc/resolv.conf"
  launch kubelet kubelet --config="$(write_config kubelet.yaml)" --kubeconfig="$PKI/kubelet.conf" \
    --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
}

start_kube_proxy() { launch kube-proxy kube-proxy --config="$(write_config kube-proxy.yaml)"; }

start_coredns() { launch coredns coredns -conf "$(write_config Corefile)"; }
