# shellcheck shell=bash disable=SC2034,SC2154
# nginx in front of something else: of PHP-FPM in the same pod, or of what a mounted /etc/nginx/conf.d says.
packages=(nginx libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g)
entrypoint=(/usr/sbin/nginx -c /etc/nginx/nginx.conf -e stderr)

fill() {
  rm -rf "${1:?}"/{etc/nginx,usr/share/nginx,var}
  mkdir -p "$1/etc/nginx/conf.d"
  install -m 644 "$folder/nginx.conf" "$1/etc/nginx/nginx.conf"
}

check() { chroot "$1" /usr/sbin/nginx -t -c /etc/nginx/nginx.conf -e stderr; }
