# shellcheck shell=bash
# A real server of an older release, in namespaces of its own, and a git repository of both releases.

# need_tools COMMAND…: installs the Debian packages of commands that are missing.
need_tools() {
  local tool packages=()
  for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    case $tool in
      node) packages+=(nodejs) ;;
      busybox) packages+=(busybox-static) ;;
      prlimit | unshare) packages+=(util-linux) ;;
      dig) packages+=(bind9-dnsutils) ;;
      ip) packages+=(iproute2) ;;
      javac) packages+=(default-jdk-headless) ;;
      musl-gcc) packages+=(musl-tools) ;;
      *) packages+=("$tool") ;;
    esac
  done
  ((${#packages[@]})) || return 0
  ((EUID == 0)) || die "missing commands, and only root can install them: ${packages[*]}"
  install_missing "${packages[@]}"
}

# package_folder NAME VERSION: prints the folder of a published npm package, fetched once.
package_folder() {
  local folder=$KDBG_CACHE/npm/$1-$2
  if [[ ! -d $folder ]]; then
    say "fetching $1 $2 from the npm registry"
    rm -rf "$folder.new"
    mkdir -p "$folder.new"
    (cd "$folder.new" && npm pack --silent "$1@$2" >/dev/null && tar xzf ./*.tgz --no-same-owner) || die "npm could not fetch $1 $2"
    mv "$folder.new" "$folder"
  fi
  printf '%s/package\n' "$folder"
}

# installed_folder NAME VERSION: prints a folder with the package and what it depends on, installed once.
installed_folder() {
  local folder=$KDBG_CACHE/npm/installed-$1-$2
  if [[ ! -d $folder ]]; then
    say "installing $1 $2 with npm"
    rm -rf "$folder.new"
    mkdir -p "$folder.new"
    npm install --silent --no-audit --no-fund --no-update-notifier --ignore-scripts --prefix "$folder.new" "$1@$2" >/dev/null ||
      die "npm could not install $1 $2"
    mv "$folder.new" "$folder"
  fi
  printf '%s\n' "$folder"
}

# make_repository FOLDER PACKAGE VERSION…: a repository whose tags are the releases.
make_repository() {
  local folder=$1 package=$2 version source
  shift 2
  git init --quiet --initial-branch=master "$folder"
  for version in "$@"; do
    source=$(package_folder "$package" "$version")
    find "$folder" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
    cp -a "$source/." "$folder/"
    git -C "$folder" add --all --force
    git -C "$folder" -c user.name=demo -c user.email=demo@example.invalid -c commit.gpgsign=false \
      commit --quiet --message "$package $version"
    git -C "$folder" -c tag.gpgsign=false tag "v$version"
  done
}

# make_root FOLDER VERSION: the root of the server: node, the libraries that it is linked with, the program. No shell, no tool.
make_root() {
  local root=$1 library node
  mkdir -p "$root"/{app,bin,proc,tmp}
  node=$(readlink -f "$(command -v node)")
  cp "$node" "$root/bin/node"
  while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done < <(ldd "$node" | grep -o '/[^ ]*')
  # Debian's node keeps some of its own modules in files beside it, and cannot start without them.
  for library in /usr/share/nodejs/{acorn,acorn-walk,cjs-module-lexer,undici}; do
    [[ -d $library ]] || continue
    mkdir -p "$root${library%/*}"
    cp -aL "$library" "$root$library"
  done
  cp -a "$(installed_folder express "$2")/." "$root/app/"
  cat >"$root/app/server.js" <<'JS'
const express = require('express');
const server = express().get('/', (request, response) => response.send('hello\n')).listen(0, '127.0.0.1');
server.on('listening', () => console.log('listening'));
JS
}

# start_server ROOT: sets `server` to the process number of node.
start_server() {
  local root=$1 namespaces=(--mount --pid --fork --kill-child) log=$1.log
  ((EUID == 0)) || namespaces+=(--user --map-root-user)
  # shellcheck disable=SC2016 # expanded inside of the namespaces
  env -i NODE_ENV=production PORT=8080 REVIEWS_PORT=tcp://10.0.12.7:9080 DATABASE_URL=postgres://shop:hunter2@db/shop API_TOKEN=not-for-your-eyes \
    unshare "${namespaces[@]}" -- "$(command -v bash)" -c '
      mount --bind "$1" "$1" && cd "$1" && mount -t proc proc proc || exit 1
      # No path to chroot is needed inside: the shell ends here, and node is the only program of its root.
      exec chroot "$1" /bin/node /app/server.js' -- "$root" >"$log" 2>&1 &
  unshare_pid=$!
  local waited=0
  until grep -q listening "$log" 2>/dev/null; do
    kill -0 "$unshare_pid" 2>/dev/null || die "the server did not start" "$(tail -n 3 "$log")"
    ((waited++ < 100)) || die "the server did not start within 10 s" "$(tail -n 3 "$log")"
    sleep 0.1
  done
  # unshare has one child, which became node.
  server=$(<"/proc/$unshare_pid/task/$unshare_pid/children")
  server=${server%% *}
}

stop_server() {
  [[ -n ${server:-} ]] || return 0
  # The first process of a pid namespace has no default for other signals; unshare ends with it.
  kill -KILL "$server" 2>/dev/null || true
  wait "$unshare_pid" 2>/dev/null || true
}
