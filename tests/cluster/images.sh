#!/usr/bin/env bash
# Shows that images are built the same twice, and that --push brings them to a registry whole. Needs root.
set -euo pipefail

SCRIPTS=$(cd "$(dirname "$(readlink -f "$0")")/../../scripts" && pwd)
SCRIPT_NAME=images
# shellcheck source=../../scripts/lib/common.sh
. "$SCRIPTS/lib/common.sh"
WORK=$(mktemp -d)
REGISTRY_PID=
trap '[[ -z $REGISTRY_PID ]] || kill "$REGISTRY_PID"; rm -rf "$WORK"' EXIT

image() { "$SCRIPTS/image" ${KDBG_AGENT:+--agent "$KDBG_AGENT"} "$@" 2>>"$WORK/messages"; }

same_twice() {
  local name=$1 file first second
  file=$(image "$name")
  first=$(sha256sum <"$file")
  image --fresh "$name" >/dev/null || { cat "$WORK/messages" && die "building $name again failed"; }
  second=$(sha256sum <"$file")
  [[ $first == "$second" ]] || die "$name is built differently the second time"
  say "$name: the same twice, ${first:0:12}"
}

# Debian's registry, unpacked and not installed: its package would start a service.
start_registry() {
  local deb
  deb=$(deb_files docker-registry)
  dpkg-deb -x "$deb" "$WORK/registry"
  cat >"$WORK/registry.yml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $WORK/storage}}
http: {addr: "127.0.0.1:0"}
YAML
  # port 0: the system chooses a free one, and the log tells which
  "$WORK/registry/usr/bin/docker-registry" serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
  REGISTRY_PID=$!
  local try
  for ((try = 0; try < 100; try++)); do
    REGISTRY=$(grep -oE 'listening on 127\.0\.0\.1:[0-9]+' "$WORK/registry.log" | grep -oE '127.*') && return
    sleep 0.1
  done
  cat "$WORK/registry.log"
  die "the registry does not start"
}

pushed_whole() {
  local name=$1 file here there
  file=$(image "$name")
  image --plain-http --push "$REGISTRY" "$name" || { cat "$WORK/messages" && die "pushing $name failed"; }
  mkdir -p "$WORK/$name"
  tar -xf "$file" -C "$WORK/$name"
  for tag in $(jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' "$WORK/$name/index.json"); do
    here=$(jq -r --arg tag "$tag" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag) | .digest' "$WORK/$name/index.json")
    there=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/$name:$tag")
    [[ $here == "$there" ]] || die "$name:$tag is $here here and $there in the registry"
    say "$name:$tag: pushed whole, $there"
  done
}

need_root
install_missing skopeo jq
for name in $("$SCRIPTS/image" --list); do same_twice "$name"; done
start_registry
for name in kdbg-agent python; do pushed_whole "$name"; done
