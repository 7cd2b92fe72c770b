# shellcheck shell=bash disable=SC2034,SC2154
# Python with Flask as PyPI has it, for the incidents: no program of its own.
packages=(
  python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
  libc6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1
)
entrypoint=(/usr/bin/python3.11)
environment=(PYTHONDONTWRITEBYTECODE=1)
working_directory=/opt/microservices
wheels=()

# The wheels of this architecture, whole by their digests in requirements.txt.
prepare() {
  local machine store
  case $ARCH in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) die "no wheels are known for $ARCH" ;;
  esac
  install_missing python3-pip
  store=$(built "wheels-$name" "$ARCH $(tree_digest "$folder/requirements.txt")" fetch_wheels "$machine")
  mapfile -t wheels < <(printf '%s\n' "$store"/*.whl)
  inputs=$(tree_digest "$store")
}

# fetch_wheels MACHINE OUT: not installed by pip, which would run on this machine and not on that of the image.
fetch_wheels() {
  python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --python-version 3.11 \
    --platform "manylinux2014_$1" --requirement "$folder/requirements.txt" --dest "$2"
}

fill() {
  local wheel site=$1/usr/local/lib/python3.11/dist-packages
  rm -rf "$1"/usr/share/{binfmts,pixmaps,applications}
  mkdir -p "$site" "$1/opt/microservices"
  # A wheel is a zip file with what goes into the folder.
  for wheel in "${wheels[@]}"; do python3 -m zipfile -e "$wheel" "$site"; done
}

check() { chroot "$1" /usr/bin/python3.11 -c 'import flask, werkzeug.serving'; }
