# shellcheck shell=bash disable=SC2034,SC2154
# One static program and nothing else.
entrypoint=(/server)

prepare() {
  find_go 1.24.2
  inputs=$(go version)
}

fill() {
  # not stripped: the symbols of a real program are what a debugger works with
  (cd "$folder" && CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=false -o "$1/server" .)
}
