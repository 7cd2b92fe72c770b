# shellcheck shell=bash disable=SC2034,SC2154
# The container that holds a pod's namespaces.
tags=("1=65532:65532")
entrypoint=(/pause)

prepare() {
  install_missing gcc libc6-dev
  inputs=$(gcc -dumpfullversion)
}

fill() { gcc -Os -static -s -o "$1/pause" "$folder/pause.c"; }
