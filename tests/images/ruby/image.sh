# shellcheck shell=bash disable=SC2034,SC2154
# Ruby of Debian with its standard library, without gems: what a small service needs.
packages=(
  ruby3.1 libruby3.1
  libc6 libcrypt1 libgmp10 zlib1g libgcc-s1 libssl3 libyaml-0-2 libffi8 libedit2 libncurses6 libtinfo6 libbsd0 libmd0
)
entrypoint=(/usr/bin/ruby3.1 --disable-gems /app/server.rb)
working_directory=/app

fill() {
  rm -rf "$1"/usr/share/{ri,rubygems-integration} "$1"/usr/bin/{erb,gem,irb,rdoc,ri,bundle,bundler,racc,rbs,typeprof}*
  install -D -m 644 "$folder/server.rb" "$1/app/server.rb"
}

check() { chroot "$1" /usr/bin/ruby3.1 --disable-gems -e 'require "json"; require "socket"; require "net/http"'; }
