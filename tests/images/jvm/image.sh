# shellcheck shell=bash disable=SC2034,SC2154
# A Java runtime made by jlink of Debian's JDK: only the modules that the server and its diagnosis need.
packages=(libc6 zlib1g libgcc-s1 libstdc++6)
entrypoint=(/usr/lib/jvm/bin/java -Xmx64m -cp /app Server)
working_directory=/app
jdk=()

prepare() {
  local files
  files=$(deb_files "openjdk-17-jdk-headless:$ARCH" "openjdk-17-jre-headless:$ARCH")
  mapfile -t jdk <<<"$files"
  inputs=${jdk[*]##*/}
}

# The JDK runs in a root of its own: its configuration is found through absolute links.
fill() {
  local root=$1 build deb home
  build=$(mktemp -d)
  cp -a "$root/." "$build"
  for deb in "${jdk[@]}"; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$build"; done
  home=/usr/lib/jvm/java-17-openjdk-$ARCH
  cp "$folder"/*.java "$build/tmp"
  mkdir "$build/proc"
  mount --bind /proc "$build/proc"
  chroot "$build" "$home/bin/javac" -g -d /tmp/classes /tmp/Server.java
  chroot "$build" "$home/bin/javac" -g -d /tmp/page /tmp/Page.java
  # the plug-in system-modules writes sets in an order that changes from run to run
  chroot "$build" "$home/bin/jlink" --add-modules java.base,java.instrument,java.management,jdk.attach,jdk.httpserver,jdk.management.agent \
    --disable-plugin system-modules --no-header-files --no-man-pages --compress=2 --output /usr/lib/jvm/linked
  umount "$build/proc"
  mkdir -p "$root/usr/lib/jvm" "$root/app" "$root"/opt/{page,compiled}
  cp -a "$build/usr/lib/jvm/linked/." "$root/usr/lib/jvm"
  cp "$build"/tmp/classes/*.class "$root/app"
  # a page of an incident: once with its source beside it, once without, as most images have it
  cp "$build"/tmp/page/*.class "$folder/Page.java" "$root/opt/page"
  cp "$build"/tmp/page/*.class "$root/opt/compiled"
  rm -rf "$build"
}

check() { chroot "$1" /usr/lib/jvm/bin/java -version; }
