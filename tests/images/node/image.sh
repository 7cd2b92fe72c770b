# shellcheck shell=bash disable=SC2034,SC2154
# Node.js of Debian, with the libraries that it loads.
packages=(
  nodejs libnode108 node-acorn node-cjs-module-lexer node-undici node-busboy
  libc6 libstdc++6 libgcc-s1 zlib1g libssl3 libicu72 libuv1 libnghttp2-14 libbrotli1 libc-ares2
)
entrypoint=(/usr/bin/node /app/server.js)
environment=(NODE_ENV=production)
working_directory=/app

fill() {
  # what is left is the interpreter: the JavaScript that it needs lies in /usr/share/nodejs
  rm -rf "$1"/usr/share/{lintian,pixmaps,applications,nodejs/*/*.md} "$1"/usr/bin/{nodejs,acorn*,js}
  install -D -m 644 "$folder/server.js" "$1/app/server.js"
}

check() { chroot "$1" /usr/bin/node -e 'require("http"); require("crypto"); require("zlib"); fetch'; }
