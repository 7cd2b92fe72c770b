# shellcheck shell=bash disable=SC2034,SC2154
# The image of kdbg's ephemeral container: the agent, busybox for a person at a shell, and the usual authorities for TLS.
#
# The user is a number: the kubelet cannot tell whether a name is root and refuses it under runAsNonRoot.
packages=(busybox-static ca-certificates)
tags=(dev=65532:65532)
entrypoint=(/usr/bin/kdbg-agent)

prepare() {
  if [[ -z $AGENT ]]; then AGENT=$(static_agent "$ARCH"); fi
  inputs=$(sha256sum <"$AGENT")
}

fill() {
  local root=$1 applet
  [[ $(od -An -tx1 -N4 "$AGENT") == " 7f 45 4c 46" ]] || die "$AGENT is not a program"
  if readelf --program-headers "$AGENT" | grep -q INTERP; then die "$AGENT is not static" "build it with -C target-feature=+crt-static"; fi
  install -m 755 "$AGENT" "$root/usr/bin/kdbg-agent"
  # the list is that of the machine's busybox when the image is for another architecture: same version, same applets
  for applet in $(busybox_applets "$root"); do
    # busybox itself is in the list, and must not become a link to itself
    if [[ ! -e $root/usr/bin/$applet ]]; then ln -s busybox "$root/usr/bin/$applet"; fi
  done
  mkdir -p "$root/etc/ssl/certs"
  # what update-ca-certificates would write; in order of name, so that the file is always the same
  find "$root/usr/share/ca-certificates" -name '*.crt' -print0 | LC_ALL=C sort -z | xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "${root:?}"/{usr/share,usr/sbin/update-ca-certificates,etc/ca-certificates,etc/ca-certificates.conf}
}

busybox_applets() {
  local file root
  if [[ $ARCH == "$(dpkg --print-architecture)" ]]; then
    "$1/usr/bin/busybox" --list
  else
    file=$(deb_files "busybox-static:$(dpkg --print-architecture)")
    root=$(mktemp -d)
    dpkg-deb -x "$file" "$root"
    "$root/bin/busybox" --list
    rm -rf "$root"
  fi
}
