#!/usr/bin/env bash
# A private Docker Engine for the tests: Debian's packages in a chroot, with a socket and a data root of its own. SUITE: trixie (26.1.5, the
# default) or forky (28.5.2 in 2026); DOCKERD_FLAGS: for example --feature containerd-snapshotter=true. One DIR for each.
#   daemon.sh start DIR   prints the variables to export as its last line
#   daemon.sh stop DIR    stops it and removes its images; the installed packages stay in DIR, so that the next start takes seconds
# Needs root and debootstrap (installed with apt-get where it is missing). Nothing outside DIR is changed but that package.
set -eu
verb=$1
# Everybody can reckon its name, and what is in it is run and removed by root: it must have been made by who calls this.
if [ "$verb" = start ] && [ ! -e "$2" ] && [ ! -L "$2" ]; then mkdir -p "$(dirname "$2")" && mkdir -m 700 "$2"; fi
if [ -e "$2" ] || [ -L "$2" ]; then
  if [ -L "$2" ] || [ ! -d "$2" ] || [ ! -O "$2" ] || [ -n "$(find "$2" -maxdepth 0 -perm /022)" ]; then
    echo "daemon.sh: $2 is not a directory of this user that only this user can write to: remove it, or set TMPDIR" >&2
    exit 1
  fi
fi
dir=$(realpath -m "$2")
suite=${SUITE:-trixie}
root=$dir/$suite
sock=$dir/share/docker.sock
answers() { curl -s --max-time 2 --unix-socket "$sock" http://d/_ping >/dev/null 2>&1; }

case $verb in
start)
  [ "$(id -u)" = 0 ] || { echo "daemon.sh: a Docker daemon needs root" >&2; exit 1; }
  mkdir -p "$dir/share" "$dir/data"
  if [ ! -x "$root/usr/sbin/dockerd" ]; then
    command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap; } >"$dir/apt.log" 2>&1 ||
      { echo "daemon.sh: debootstrap cannot be installed: $(tail -1 "$dir/apt.log")" >&2; exit 1; }
    mirror=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | head -1)
    rm -rf "$root"
    debootstrap --variant=minbase --include=docker.io,docker-cli,docker-buildx,iptables,ca-certificates \
      "$suite" "$root" "${mirror:?daemon.sh: no package mirror is configured}" /usr/share/debootstrap/scripts/sid >"$dir/debootstrap.log" 2>&1 ||
      { echo "daemon.sh: debootstrap failed: $(tail -1 "$dir/debootstrap.log")" >&2; exit 1; }
  fi
  cat >"$dir/inner.sh" <<INNER
mount --make-rprivate /
mount --bind "$root" "$root"
for m in proc sys dev; do mount --rbind /\$m "$root/\$m"; done
mkdir -p "$root/share" "$root/data" "$root/.old"
mount --bind "$dir/share" "$root/share"
mount --bind "$dir/data" "$root/data"
cd "$root"
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old; rm -f /run/docker.pid; export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  exec dockerd --data-root /data --exec-root /run/docker-exec --pidfile /run/docker.pid -H unix:///share/docker.sock ${DOCKERD_FLAGS:-}'
INNER
  if ! answers; then
    rm -f "$sock"
    setsid unshare -m bash "$dir/inner.sh" >"$dir/log" 2>&1 &
    echo $! >"$dir/pid"
  fi
  for _ in $(seq 150); do answers && break; sleep 0.2; done
  answers || { tail -5 "$dir/log" >&2; exit 1; }
  mkdir -p "$dir/bin" "$dir/config/cli-plugins"
  cp -u "$root/usr/bin/docker" "$dir/bin/docker"
  plugin=$(find "$root/usr/libexec/docker" "$root/usr/lib/docker" -name docker-buildx 2>/dev/null | head -1)
  [ -n "$plugin" ] && cp -u "$plugin" "$dir/config/cli-plugins/"
  # The tools that empty build caches do so on a daemon of their own alone (private.py).
  echo "DOCKER_HOST=unix://$sock LAYERLAB_PRIVATE_DAEMON=1 DOCKER_CONFIG=$dir/config PATH=$dir/bin"
  ;;
stop)
  [ -f "$dir/pid" ] || exit 0
  pid=$(cat "$dir/pid")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 75); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
  rm -rf "$dir/pid" "$dir/data" || true
  ;;
esac
