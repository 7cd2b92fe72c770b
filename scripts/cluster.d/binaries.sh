# shellcheck shell=bash
# The programs of the cluster: built from pinned Go modules, or unpacked from Debian packages. Nothing is installed as a
# service: an etcd or containerd package would start one on the host.

GO_MINIMUM=1.24.2
KUBERNETES_VERSION=1.34.4
CONTAINERD_VERSION=2.1.9

# prepare_binaries RUNTIME: sets HYPERKUBE, PAUSE, PROGRAMS (a PATH for the node) and CNI_PLUGINS.
prepare_binaries() {
  local runtime=$1 etcd cni containerd runc
  # iptables: the CNI plugin portmap. nftables: kube-proxy. libseccomp-dev, pkg-config, gcc: runc.
  install_missing ca-certificates iproute2 nftables iptables openssl procps util-linux jq gcc libc6-dev umoci
  etcd=$(debian_program etcd-server)
  cni=$(debian_program containernetworking-plugins)
  find_go "$GO_MINIMUM"
  HYPERKUBE=$(go_module hyperkube build_hyperkube)
  case $runtime in
    containerd2)
      install_missing pkg-config libseccomp-dev
      containerd=$(go_module containerd build_containerd)
      runc=$(go_module runc build_runc)
      RUNTIME_PATH=$containerd:$runc
      ;;
    debian)
      containerd=$(debian_program containerd)
      runc=$(debian_program runc)
      RUNTIME_PATH=$containerd/usr/bin:$runc/usr/sbin
      ;;
    *) die "unknown runtime $runtime" "--runtime takes containerd2 or debian" ;;
  esac
  PAUSE=$(built pause "$(tree_digest "$HERE/../tests/images/pause") $(gcc -dumpfullversion)" build_pause)
  PROGRAMS=$RUNTIME_PATH:$HYPERKUBE:$etcd/usr/bin
  CNI_PLUGINS=$cni/usr/lib/cni
}

# go_module FOLDER BUILD: builds the Go module in cluster.d/FOLDER by BUILD, once for each state of its inputs.
go_module() {
  local module=$1 build=$2
  built "$module" "$(go version) $(tree_digest "$HERE/cluster.d/$module") $(declare -f "$build")" "$build"
}

build_hyperkube() {
  local minor=${KUBERNETES_VERSION#1.} program
  (
    cd "$HERE/cluster.d/hyperkube"
    version=k8s.io/component-base/version
    CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -o "$1/hyperkube" \
      -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=${minor%.*}" .
  ) || return
  # one file, many names: ps and the logs then show which program it is
  for program in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl coredns; do
    ln -s hyperkube "$1/$program"
  done
}

build_containerd() {
  cd "$HERE/cluster.d/containerd" &&
    CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -tags "no_btrfs no_zfs no_devmapper no_aufs" \
      -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=v$CONTAINERD_VERSION" -o "$1/" tool
}

# runc needs cgo: the code that enters the namespaces is C, and seccomp is a C library.
build_runc() {
  cd "$HERE/cluster.d/runc" &&
    CGO_ENABLED=1 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -tags seccomp -ldflags "-s -w" -o "$1/" tool
}

build_pause() { gcc -Os -static -s -Wall -Wextra -Werror -o "$1/pause" "$HERE/../tests/images/pause/pause.c"; }

# debian_program PACKAGE: prints a folder in which the package is unpacked.
debian_program() {
  local file
  file=$(deb_files "$1")
  built "$1" "$(basename "$file")" unpack_deb "$file"
}

unpack_deb() { dpkg-deb -x "$1" "$2"; }
