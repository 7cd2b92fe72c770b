# shellcheck shell=bash disable=SC2034,SC2154
# Python without a shell, tar or any other program.
packages=(
  python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
  libc6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1
)
entrypoint=(/usr/bin/python3.11 -u /app/server.py)
environment=(PYTHONDONTWRITEBYTECODE=1)
working_directory=/app

fill() {
  rm -rf "$1"/usr/share/{binfmts,pixmaps,applications}
  install -D -m 644 "$folder/server.py" "$1/app/server.py"
}

check() { chroot "$1" /usr/bin/python3.11 -c 'import ctypes, http.server, json, lzma, ssl, zlib'; }
