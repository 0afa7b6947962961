/*
 * A workload that shares no pose with the first: programs of busybox, and what servers do. Written after the reader, and
 * to be different, it says whether the reader is right about guests or about that one guest.
 */
#define _GNU_SOURCE
#include "../guest.h"

#include <fcntl.h>
#include <linux/udp.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void services(void) {
  pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    execl("/bin/busybox", "sh", "/services.sh", NULL);
    fail("/bin/busybox");
  }
  must(waitpid(pid, NULL, 0), "waitpid");
}

/* Processes that are gone: their memory and, with so few numbers, their pids were used again. */
static void short_lives(void) {
  int byte = 0, pair[2];
  for (int i = 0; i < 2000; i++) {
    pid_t pid = must(fork(), "fork");
    if (pid == 0) _exit(0);
    must(waitpid(pid, NULL, 0), "waitpid");
  }
  for (int i = 0; i < 500; i++) {
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    int server = listening(0, "127.0.0.1", 10000, 4), client = connected(SOCK_STREAM, 0, "127.0.0.1", 10000);
    int connection = accepted(server);
    option(client, SOL_SOCKET, SO_REUSEADDR, 1);
    struct linger hard = {1, 0};
    must(setsockopt(connection, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), "SO_LINGER");
    must(write(pair[0], &byte, 1), "write");
    for (int fd = 0; fd < 5; fd++) close((int[]){connection, client, server, pair[0], pair[1]}[fd]);
  }
}

/* sshd of today: a listener, a monitor that stays root, a child in a cage, then a session of the user. */
static int monitor_socket, session_number;

static void in_cage(void) {
  mkdir("/var", 0755);
  must(chroot("/var"), "chroot");
  must(setresgid(74, 74, 74), "setresgid");
  must(setresuid(74, 74, 74), "setresuid");
}

static void as_alice(void) {
  setsid();
  must(setresgid(1003, 1003, 1003), "setresgid");
  must(setresuid(1003, 1003, 1003), "setresuid");
  must(chdir("/"), "chdir");
  bound(SOCK_STREAM, 0, "::1", 10020 + session_number); /* forwards a port, not yet listening */
  listening(0, "::1", 10010 + session_number, 16);
}

static void monitor(void) {
  int pair[2];
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
  actor("sshd-net", in_cage);
  actor("sshd-session", as_alice);
}

static void ssh_daemon(void) {
  int listener = listening(0, "::", 10222, 128);
  for (; session_number < 3; session_number++) {
    int client = connected(SOCK_STREAM, 0, session_number % 2 ? "::1" : OWN4, 10222);
    monitor_socket = accepted(listener);
    actor("sshd-monitor", monitor);
    close(monitor_socket);
    if (session_number == 2) close(client);
  }
}

/* One that binds for others: the service gets its sockets as descriptors 3 to 6, and the binder keeps its own. */
static void activated(void) {
  char *arguments[] = {"activated", "--socket-activation", NULL};
  must(setresuid(500, 500, 500), "setresuid");
  ready();
  execv("/idle", arguments);
}

static void per_connection(void) { into_group("/system.slice/echo@1.service"); }

static void service_manager(void) {
  int fds[] = {listening(0, "::", 10300, 4096), bound(SOCK_DGRAM, 0, "::", 10300), listening(0, OWN6, 10301, 4),
               bound(SOCK_DGRAM, 0, "0.0.0.0", 10302)};
  (void)fds;
  actor("activated", activated);
  for (int i = 0; i < 4; i++) {
    connected(SOCK_STREAM, 0, "::1", 10300);
    int connection = accepted(fds[0]);
    actor("echo@", per_connection);
    close(connection);
  }
}

/* Eight workers, a socket of the same port each, and a UDP group beside it. */
static int worker_number;

static void reuse_worker(void) {
  for (int kind = 0; kind < 4; kind++) {
    int type = kind % 2 ? SOCK_DGRAM : SOCK_STREAM;
    union address own = at(kind < 2 ? "::" : OWN4, 10400);
    int fd = opened(own.any.sa_family, type, 0);
    option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (own.any.sa_family == AF_INET6) option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    must(bind(fd, &own.any, length_of(&own)), "SO_REUSEPORT");
    if (type == SOCK_STREAM) must(listen(fd, 64), "listen");
  }
  must(setresuid(600 + worker_number, 600 + worker_number, 600 + worker_number), "setresuid");
}

static void reuse_master(void) {
  for (; worker_number < 8; worker_number++) actor("reuse-worker", reuse_worker);
  for (int i = 0; i < 40; i++) connected(SOCK_STREAM, 0, i % 2 ? OWN4 : "::1", 10400); /* spread, accepted by none */
}

/* Forty networks, each with its loopback and the same sockets; the last ten are left by their maker. */
static void in_network(void) {
  bring_up("lo");
  int listener = listening(0, "::", 80, 4);
  connected(SOCK_STREAM, 0, "::1", 80);
  accepted(listener);
  close(connected(SOCK_STREAM, 0, "127.0.0.1", 80));
  bound(SOCK_DGRAM, 0, "::", 53);
  opened(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static void many_networks(void) {
  for (int i = 0; i < 30; i++) actor_flags("pod", in_network, CLONE_NEWNET);
  for (int i = 0; i < 10; i++) {
    must(unshare(CLONE_NEWNET), "unshare");
    in_network();
  }
}

/* Whole networks of IPv6 addresses on one device, with link-local ones, and who talks from which. */
static void ipv6_heavy(void) {
  char host[64];
  for (int i = 1; i <= 30; i++) {
    snprintf(host, sizeof host, "2001:db8:f::%x", i);
    address_on("dummy0", host, 128);
    snprintf(host, sizeof host, "fe80::%x", 0xf00 + i);
    address_on("dummy0", host, 64);
  }
  sleep(2); /* until duplicate address detection is done */
  for (int i = 1; i <= 30; i++) {
    snprintf(host, sizeof host, "2001:db8:f::%x", i);
    listening(0, host, 10500 + i % 3, 4);
    union address own = at(host, 0), other = at("2001:db8:f::1", 10501);
    int fd = opened(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (i == 1) continue;
    must(bind(fd, &own.any, length_of(&own)), "bind");
    connect(fd, &other.any, length_of(&other));
  }
  union address local = at("fe80::f01", 10510), peer = at("fe80::dead", 10511);
  local.in6.sin6_scope_id = peer.in6.sin6_scope_id = if_nametoindex("dummy0");
  int fd = opened(AF_INET6, SOCK_DGRAM, 0);
  must(bind(fd, &local.any, sizeof local.in6), "link-local");
  must(connect(fd, &peer.any, sizeof peer.in6), "link-local");
  fd = opened(AF_INET6, SOCK_STREAM, 0);
  must(bind(fd, &local.any, sizeof local.in6), "link-local");
  must(listen(fd, 4), "listen");
}

/* Full queues both ways; a server in sendfile, one that left while its queue was full, data that nobody reads. */
static void sends_file(void) {
  int file = must(open("/www/large", O_RDONLY), "/www/large");
  int listener = listening(0, "::1", 10600, 4);
  connected(SOCK_STREAM, 0, "::1", 10600);
  int connection = accepted(listener);
  ready();
  sendfile(connection, file, NULL, 8000000); /* never returns: nobody reads */
}

static void leaves_full_queue(void) {
  static char data[4000000];
  int listener = listening(0, "127.0.0.1", 10601, 4), client = connected(SOCK_STREAM, 0, "127.0.0.1", 10601);
  setfsuid(1003);
  int connection = accepted(listener);
  must(fcntl(connection, F_SETFL, O_NONBLOCK), "O_NONBLOCK");
  must(write(connection, data, sizeof data), "write");
  close(connection); /* an orphan in FIN_WAIT1, whose peer does not read */
  (void)client;
}

static void unread_data(void) {
  char data[1000] = {0};
  listening(0, "127.0.0.1", 10602, 4);
  int client = connected(SOCK_STREAM, 0, "127.0.0.1", 10602);
  must(write(client, data, sizeof data), "write"); /* waits in a socket that waits to be accepted */
  shutdown(client, SHUT_WR);
  bound(SOCK_DGRAM, 0, "127.0.0.1", 10603);
  int sender = connected(SOCK_DGRAM, 0, "127.0.0.1", 10603);
  for (int i = 0; i < 50; i++) must(write(sender, data, sizeof data), "write");
}

/* Options that change where a socket lies, or what it looks like while it comes to be. */
static void options(void) {
  int defers = listening(0, "127.0.0.1", 10700, 4);
  option(defers, IPPROTO_TCP, TCP_DEFER_ACCEPT, 600);
  connected(SOCK_STREAM, 0, "127.0.0.1", 10700); /* established here, a request there, until it says something */
  int fast = listening(0, "::", 10701, 4);
  option(fast, IPPROTO_TCP, TCP_FASTOPEN, 16);
  union address foreign = at("198.51.100.7", 10702), foreign6 = at("2001:db8:ffff::7", 10702);
  for (int i = 0; i < 2; i++) {
    int fd = opened(AF_INET, i ? SOCK_DGRAM : SOCK_STREAM, 0);
    option(fd, IPPROTO_IP, i ? IP_FREEBIND : IP_TRANSPARENT, 1);
    must(bind(fd, &foreign.any, length_of(&foreign)), "IP_TRANSPARENT");
    if (i == 0) must(listen(fd, 4), "listen");
    fd = opened(AF_INET6, i ? SOCK_DGRAM : SOCK_STREAM, 0);
    option(fd, IPPROTO_IPV6, i ? IPV6_FREEBIND : IPV6_TRANSPARENT, 1);
    must(bind(fd, &foreign6.any, length_of(&foreign6)), "IPV6_TRANSPARENT");
  }
  option(bound(SOCK_DGRAM, 0, "0.0.0.0", 4500), IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP);
  int cork = connected(SOCK_DGRAM, 0, AWAY4, 10703);
  option(cork, IPPROTO_UDP, UDP_CORK, 1);
  must(write(cork, "x", 1), "write");
  union address multicast = at("ff02::1:3", 5355);
  int fd = opened(AF_INET6, SOCK_DGRAM, 0);
  option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, (int)if_nametoindex("dummy0"));
  must(bind(fd, &multicast.any, length_of(&multicast)), "multicast");
  connected(SOCK_STREAM, 0, "::1", 10701);
  for (int i = 0; i < 3; i++) connected(SOCK_DGRAM, 0, i ? AWAY4 : "::1", 9); /* as getaddrinfo probes, never used */
  int converted = connected(SOCK_STREAM, 0, "::ffff:127.0.0.1", 10700);
  option(converted, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET); /* an IPv6 socket that became an IPv4 one */
}

/* A pool like a database's: one that listens, one connection a process, a pooler in front of it that has them all. */
static int pool_listener;

static void backend(void) { must(setresuid(70, 70, 70), "setresuid"); }

static void database(void) {
  pool_listener = listening(0, OWN4, 5432, 64);
  for (int i = 0; i < 20; i++) {
    connected(SOCK_STREAM, 0, OWN4, 5432);
    int connection = accepted(pool_listener);
    actor("backend", backend);
    close(connection);
  }
}

int main(void) {
  declarations();
  try_write_text("/proc/sys/kernel/pid_max", "1500");
  actor("short-lives", short_lives);
  actor("ssh-daemon", ssh_daemon);
  actor("service-manager", service_manager);
  actor("reuse-master", reuse_master);
  actor_flags("many-networks", many_networks, CLONE_NEWNET);
  actor("ipv6-heavy", ipv6_heavy);
  actor("options", options);
  actor("database", database);
  services();
  actor("sends-file", sends_file);
  actor("full-queue", leaves_full_queue);
  actor("unread-data", unread_data);
  sleep(2);
  must(write(3, "", 1), "ready"); /* init waits for it */
  for (;;) pause();
}
