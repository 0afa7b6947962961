#!/usr/bin/env bash
# Runs a command on a host of its own: in namespaces (processes, mounts, network, cgroups) whose first process is systemd, on this
# machine's files. Of units it has what the test puts into /run/units, the xfilter of this checkout is installed, and nothing is
# left over: what the tests make there goes with systemd.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() {
  echo "skipped: $*"
  exit 0
}

[ "$(id -u)" = 0 ] || skip "systemd can be started by root alone"
systemd=$(ls /usr/lib/systemd/systemd /lib/systemd/systemd 2>/dev/null | head -n 1)
[ -n "$systemd" ] || skip "systemd is not installed (Debian's package systemd)"
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[ -n "$cgroups" ] || skip "no cgroup file system of version 2 is mounted"
# Where npm would install it, it would be made so.
chmod +x dist/cli/main.js
own=$cgroups$(sed -n 's/^0:://p' /proc/self/cgroup)/xfilter-host-$$
mkdir "$own" 2>/dev/null || skip "no cgroup can be made in $cgroups"

host=
end() {
  [ -z "$host" ] || kill -KILL "$host" 2>/dev/null || true
  wait "$host" 2>/dev/null || true
  # The kernel lets go of a cgroup some time after its last process.
  for _ in $(seq 50); do
    find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -d "$own" ] || break
    sleep 0.1
  done
}
trap end EXIT

log=$(mktemp)
# Once in the new cgroup, this one stays there: what it starts is to see it as the root of all.
bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' sh "$own" \
  unshare --mount --pid --fork --cgroup --uts --ipc --net --kill-child bash -euc '
    mount --make-rprivate /
    mount -t proc proc /proc
    umount -R /sys
    mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    for fresh in /etc /usr/local/bin /var/log; do
      # Over what is there: what the tests write goes to memory.
      layer=$(mktemp -d)
      mount -t tmpfs tmpfs "$layer"
      mkdir "$layer/new" "$layer/work"
      mount -t overlay overlay -o "lowerdir=$fresh,upperdir=$layer/new,workdir=$layer/work" "$fresh"
      umount --lazy "$layer"
      rmdir "$layer"
    done
    mount -t tmpfs tmpfs /run
    mkdir /run/units /run/lab /run/xfilter-core
    mount --bind . /run/xfilter-core
    mknod --mode 666 /run/tun c 10 200
    mount --bind /run/tun /dev/net/tun
    ln -sf /run/xfilter-core/dist/cli/main.js /usr/local/bin/xfilter
    ln -s /run/xfilter-core/contrib/systemd/xfilter@.service /usr/lib/systemd/system/systemd-journald.{service,socket} /run/units
    for target in sysinit basic shutdown default; do
      printf "[Unit]\nDefaultDependencies=no\n" > /run/units/$target.target
    done
    ip link set lo up
    export container=xfilter SYSTEMD_UNIT_PATH=/run/units
    exec "$0" --system --log-target=console --show-status=no
  ' "$systemd" >"$log" 2>&1 &
host=$!

# Until it answers. Its pid is that of the only child, which becomes it.
init=
enter() { nsenter --target "$init" --mount --pid --net --cgroup --uts --ipc -- "$@"; }
for _ in $(seq 100); do
  sleep 0.1
  kill -0 "$host" 2>/dev/null || break
  init=$(pgrep -P "$host") && enter systemctl is-active --quiet default.target 2>/dev/null && ready=1 && break
done
if [ -z "${ready-}" ]; then
  cat "$log"
  skip "systemd does not start in namespaces here"
fi
rm "$log"

# shellcheck disable=SC2016
enter bash -c '
  cd "$1"
  export TMPDIR=/run/lab XFILTER_LAB_NETWORK
  XFILTER_LAB_NETWORK=$(readlink /proc/self/ns/net)
  shift
  exec "$@"' bash "$PWD" "$@"
