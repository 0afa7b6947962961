# Starts the domain NAME, waits until it has told its truth, and takes its core while it stands still. 3: its guest failed.
log=/share/guest-$NAME.log # of xenconsoled
rm -f "$log"
xl destroy "$NAME" 2>/dev/null
xl create -q "/share/$NAME.cfg" || exit 1
until [ "$(tail -c 4 "$log" 2>/dev/null)" = end ]; do
  sleep 0.2
  if [ $SECONDS -gt $DEADLINE ] || grep -aq 'fixture:\|Kernel panic' "$log"; then
    tail -c 2000 "$log"
    xl destroy "$NAME"
    exit 3
  fi
done
xl pause "$NAME"
# xl seeks in what it writes, which does not work on 9p.
xl dump-core "$NAME" "/tmp/$NAME.core" && cp "/tmp/$NAME.core" /share/
result=$?
rm -f "/tmp/$NAME.core"
xl destroy "$NAME"
exit $result
