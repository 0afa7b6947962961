# Starts the domain NAME, waits until it has told its truth, and takes its core while it stands still. 3: its guest failed.
log=/var/log/xen/console/guest-$NAME.log
rm -f "$log"
xl destroy "$NAME" 2>/dev/null
xl create -q "/share/$NAME.cfg" || exit 1
tries=0
until [ "$(tail -c 4 "$log" 2>/dev/null)" = end ]; do
  sleep 0.2
  tries=$((tries + 1))
  if [ $tries -gt 3000 ] || grep -aq 'fixture:\|Kernel panic' "$log"; then
    cp "$log" "/share/$NAME.console"
    xl destroy "$NAME"
    exit 3
  fi
done
xl pause "$NAME"
# xl seeks in what it writes, which does not work on 9p.
xl dump-core "$NAME" "/tmp/$NAME.core" && cp "/tmp/$NAME.core" "$log" /share/
result=$?
rm -f "/tmp/$NAME.core"
xl destroy "$NAME"
exit $result
