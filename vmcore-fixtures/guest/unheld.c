/* Sockets that live on although no descriptor table leads to them any more, and what is declared of them. */
#define _GNU_SOURCE
#include "guest.h"
#include "netlink.h"

#include <fcntl.h>
#include <linux/fou.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

void declarations(void) {
  int fd = must(open(UNHELD, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), UNHELD);
  must(fchmod(fd, 0666), UNHELD); /* whoever declares may be any user by then */
  close(fd);
}

static FILE *declaration(void) {
  FILE *file = fopen(UNHELD, "ae");
  if (!file) fail(UNHELD);
  return file;
}

void unheld(const char *reason, int fd) {
  FILE *file = declaration();
  fprintf(file, "unheld reason=%s", reason);
  int network = socket_answers(file, fd);
  if (network != -1) close(network);
  fputc('\n', file);
  fclose(file);
}

void unheld_port(const char *reason, int protocol, int port) {
  FILE *file = declaration();
  fprintf(file, "unheld reason=%s protocol=%d port=%d\n", reason, protocol, port);
  fclose(file);
}

void unheld_uid(int port, uid_t uid) {
  FILE *file = declaration();
  fprintf(file, "unheld port=%d uid=%u\n", port, uid);
  fclose(file);
}

void send_away(int through, const int *fds, int count) {
  char byte = 0, control[CMSG_SPACE(16 * sizeof(int))];
  size_t length = count * sizeof(int);
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(length)};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(length);
  memcpy(CMSG_DATA(header), fds, length);
  must(sendmsg(through, &message, 0), "SCM_RIGHTS");
  for (int i = 0; i < count; i++) close(fds[i]);
}

static void let_fly(int through, int fd) {
  unheld("in-flight", fd);
  send_away(through, &fd, 1);
}

/* Of every kind one, in the queue of a stream socket. */
static void kinds_in_flight(void) {
  int pair[2];
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
  let_fly(pair[0], listening(0, "::1", 6000, 4));
  let_fly(pair[0], established(OWN6, 6001, AWAY6, 443).fd);
  let_fly(pair[0], bound(SOCK_STREAM, 0, "127.0.0.1", 6002)); /* in no table that /proc shows */
  let_fly(pair[0], bound(SOCK_STREAM, 0, "::1", 6003));
  let_fly(pair[0], bound(SOCK_DGRAM, 0, "127.0.0.1", 6004));
  let_fly(pair[0], connected(SOCK_DGRAM, 0, AWAY6, 6005));
  let_fly(pair[0], opened(AF_INET, SOCK_RAW, 87));
  let_fly(pair[0], opened(AF_INET6, SOCK_RAW, 88));
  let_fly(pair[0], bound(SOCK_DGRAM, IPPROTO_ICMP, "127.0.0.1", 6006));
  let_fly(pair[0], connected(SOCK_STREAM, 0, AWAY4, 6007));
}

/* Two in one message of a datagram socket, whose sender is gone; and one beside them in sequenced packets. */
static void messages_in_flight(void) {
  int pair[2];
  must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
  int fds[] = {listening(0, "127.0.0.1", 6010, 4), bound(SOCK_DGRAM, 0, "::1", 6010)};
  for (int i = 0; i < 2; i++) unheld("in-flight", fds[i]);
  send_away(pair[0], fds, 2);
  close(pair[0]);
  must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), "socketpair");
  let_fly(pair[0], listening(0, "127.0.0.1", 6011, 4));
}

/* A socket in the queue of a UNIX socket that itself is in the queue of a third: twice over. */
static void nested_in_flight(void) {
  int outer[2], middle[2], inner[2];
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, outer), "socketpair");
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, middle), "socketpair");
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, inner), "socketpair");
  let_fly(middle[0], listening(0, "127.0.0.1", 6020, 4));
  let_fly(inner[0], established(OWN4, 6021, AWAY4, 443).fd);
  send_away(middle[0], &inner[1], 1);
  close(inner[0]);
  send_away(outer[0], &middle[1], 1);
  close(middle[0]);
}

/* Sent before anybody accepted the connection: the receiving end has no file yet. */
static void unaccepted_in_flight(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0unaccepted"};
  int listener = opened(AF_UNIX, SOCK_STREAM, 0), client = opened(AF_UNIX, SOCK_STREAM, 0);
  must(bind(listener, (struct sockaddr *)&name, sizeof name), "AF_UNIX");
  must(listen(listener, 4), "listen");
  must(connect(client, (struct sockaddr *)&name, sizeof name), "connect");
  let_fly(client, listening(0, "127.0.0.1", 6030, 4));
  close(client);
}

/* Only the socket itself, on its way, keeps this network: no table of it can be read. */
static void network_in_flight(void) {
  int pair[2], home = must(open("/proc/self/ns/net", O_RDONLY), "ns/net");
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
  must(unshare(CLONE_NEWNET), "unshare");
  bring_up("lo");
  let_fly(pair[0], listening(0, "127.0.0.1", 6040, 4));
  let_fly(pair[0], bound(SOCK_DGRAM, 0, "::1", 6040));
  must(setns(home, CLONE_NEWNET), "setns");
  close(home);
}

static void *accepts(void *fd) {
  accepted(*(int *)fd);
  return NULL;
}

/* One thread waits in a system call, another closes the descriptor: the call alone holds the listener. */
static void held_by_call(void) {
  static int fd;
  pthread_t thread;
  fd = listening(0, "127.0.0.1", 6050, 4);
  unheld("unknown", fd);
  if (pthread_create(&thread, NULL, accepts, &fd)) fail("pthread_create");
  usleep(200 * 1000);
  close(fd);
}

/* Mapped for receiving without copies, then closed: the mapping alone holds it. */
static void held_by_mapping(void) {
  int fd = connected(SOCK_STREAM, 0, AWAY4, 6060);
  if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) fail("mmap of a socket");
  unheld("unknown", fd);
  close(fd);
}

/* A tunnel's UDP socket: the kernel made it for itself. */
static void kernels_own(void) {
  char answer[4096];
  uint16_t port = htons(6070);
  uint8_t family = AF_INET, protocol = IPPROTO_IPIP, direct = FOU_ENCAP_DIRECT;
  int fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), "NETLINK_GENERIC");
  int tunnels = netlink_family(fd, FOU_GENL_NAME);
  if (tunnels == -1) return; /* not every kernel has the module */
  struct message message = message_for(tunnels, FOU_CMD_ADD, FOU_GENL_VERSION);
  attribute(&message, FOU_ATTR_PORT, &port, sizeof port);
  attribute(&message, FOU_ATTR_AF, &family, sizeof family);
  attribute(&message, FOU_ATTR_IPPROTO, &protocol, sizeof protocol);
  attribute(&message, FOU_ATTR_TYPE, &direct, sizeof direct);
  exchange(fd, &message, answer, sizeof answer);
  unheld_port("kernel", IPPROTO_UDP, 6070);
}

void unheld_actors(void) {
  actor("kinds-flying", kinds_in_flight);
  actor("messages-flying", messages_in_flight);
  actor("nested-flying", nested_in_flight);
  actor("unaccepted", unaccepted_in_flight);
  actor("network-flying", network_in_flight);
  actor("held-by-call", held_by_call);
  actor("held-by-map", held_by_mapping);
  actor("kernels-own", kernels_own);
}
