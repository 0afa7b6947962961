#!/bin/busybox sh
# Programs that were not written for us: daemons, their children and their clients, as busybox has them. Whatever one of
# them refuses to do on some kernel or in some build is left out; the guest's own account says what is there.
export PATH=/bin
busybox --install -s /bin 2>/dev/null
mkdir -p /www /tmp /etc /var/run /var/spool/cron/crontabs /dev/pts
mount -t devpts devpts /dev/pts
printf 'root::0:0::/:/bin/sh\nwww:x:33:33::/www:/bin/sh\nalice::1003:1003::/tmp:/bin/sh\n' >/etc/passwd
printf 'root::0:\nwww::33:\nalice::1003:\n' >/etc/group
head -c 8000000 /dev/zero >/www/large
head -c 1000 /dev/zero >/www/small

quietly() { "$@" </dev/null >/dev/null 2>&1 & }
# A client that says its part and then neither speaks nor listens.
mute() { (printf "$1"; sleep 1000000) | nc "$2" "$3" 2>/dev/null | sleep 1000000 & }

httpd -p 80 -u 33:33 -h /www
httpd -p '[::]:8080' -h /www
quietly telnetd -F -p 23 -l /bin/sh
quietly syslogd -n
quietly crond -f
quietly udhcpc -f -i dummy0 -t 1 -T 1000 -s /bin/true
quietly traceroute -n -w 1000 192.0.2.22
quietly ping -q -i 1000 192.0.2.22
quietly ping6 -q -i 1000 2001:db8:22::22
quietly nc -l -p 6001
quietly su alice -c 'nc 192.0.2.22 22'
quietly su alice -c 'exec nc -l -p 6002'
quietly wget -q -O /dev/null http://192.0.2.22/
sleep 1

mute 'GET /large HTTP/1.0\r\n\r\n' 127.0.0.1 80 # the server sleeps in sendfile, its queue is full
mute 'GET /large HTTP/1.0\r\n\r\n' ::1 8080
mute '' 127.0.0.1 80
mute 'sleep 1000000\n' 127.0.0.1 23 # a shell on a terminal
mute '' 127.0.0.1 6002
for i in 1 2 3 4 5 6 7 8; do wget -q -O /dev/null http://127.0.0.1/small; done
sleep 2
