#!/usr/bin/env bash
# Runs a command in a network of its own, so that the machine's firewall and devices are never touched and nothing is left over:
# what the tests make there goes with the last process that is in it. /sys shows that network's devices, as under `ip netns exec`.
set -eu
if [ "$(id -u)" != 0 ]; then
  echo "This makes network devices: it has to be run as root." >&2
  exit 1
fi
exec unshare --net --mount sh -euc '
  mount -t sysfs sysfs /sys
  ip link set lo up
  XFILTER_LAB_NETWORK=$(readlink /proc/self/ns/net) exec "$@"
' sh "$@"
