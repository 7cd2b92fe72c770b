# shellcheck shell=bash disable=SC2034,SC2154
# An image with a shell and little else, and no agent: what a node may have when kdbg's own image cannot be had.
packages=(busybox-static)
entrypoint=(/usr/bin/sh -c 'sleep 2147483647')

fill() {
  local applet
  for applet in $("$1/usr/bin/busybox" --list); do
    # busybox itself is in the list, and must not become a link to itself
    if [[ ! -e $1/usr/bin/$applet ]]; then ln -s busybox "$1/usr/bin/$applet"; fi
  done
}
