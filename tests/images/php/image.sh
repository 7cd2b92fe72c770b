# shellcheck shell=bash disable=SC2034,SC2154
# PHP-FPM, which speaks FastCGI on port 9000; the nginx image passes /php to it.
packages=(
  php8.2-fpm php8.2-common php8.2-opcache
  libc6 libgcc-s1 libstdc++6 zlib1g libssl3 libcrypt1 libffi8 libacl1 libapparmor1 libargon2-1 libpcre2-8-0 libsodium23
  libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libzstd1 libxml2 libicu72 tzdata
)
entrypoint=(/usr/sbin/php-fpm8.2 --nodaemonize --fpm-config /etc/php/php-fpm.conf)
working_directory=/app

fill() {
  rm -rf "${1:?}"/{etc/php,etc/init,etc/apache2,usr/share/php,var} "$1"/usr/lib/php/*-php
  mkdir -p "$1/etc/php" "$1/etc/php/8.2/fpm"
  install -m 644 "$folder/php-fpm.conf" "$1/etc/php/php-fpm.conf"
  printf 'zend_extension=opcache\nopcache.enable=1\n' >"$1/etc/php/8.2/fpm/php.ini"
  install -D -m 644 "$folder/index.php" "$1/app/index.php"
}

check() { chroot "$1" /usr/sbin/php-fpm8.2 --test --fpm-config /etc/php/php-fpm.conf; }
