/* What the guest's programs share. Whatever fails here fails the build: the builder watches the console for "fixture:". */
#ifndef GUEST_H
#define GUEST_H

#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The guest's own addresses on dummy0, a device that swallows what is sent through it: a peer that never answers. */
#define OWN4 "10.0.2.15"
#define OWN6 "2001:db8::15"
#define AWAY4 "192.0.2.22"
#define AWAY6 "2001:db8:22::22"

union address {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
};

void fail(const char *what) __attribute__((noreturn));
long must(long result, const char *what);
void write_text(const char *path, const char *text);
int try_write_text(const char *path, const char *text);

/* actors.c: the processes that stay behind */
pid_t actor(const char *name, void (*body)(void));
pid_t actor_flags(const char *name, void (*body)(void), unsigned long clone_flags);
void rename_self(const char *name);
void ready(void);
void stay(void) __attribute__((noreturn));

/* sockets.c: a socket in one line; a host with a colon is IPv6 */
union address at(const char *host, int port);
socklen_t length_of(const union address *address);
int opened(int family, int type, int protocol);
int bound(int type, int protocol, const char *host, int port);
int connected(int type, int protocol, const char *host, int port);
int listening(int protocol, const char *host, int port, int backlog);
int accepted(int listener);
void option(int fd, int level, int name, int value);

/* segments.c: connections in states that a real peer would not hold still */
struct peer {
  int fd;
  union address own, away;
  uint32_t own_sequence, away_sequence;
};
enum { SEGMENT_FIN = 1, SEGMENT_SYN = 2, SEGMENT_ACK = 16 };
struct peer established(const char *own, int own_port, const char *away, int away_port);
void inject(const union address *from, const union address *to, uint32_t sequence, uint32_t ack, int flags);
void peer_says(const struct peer *peer, int flags);

/* answers.c: writes key=value… and returns a descriptor of the socket's network namespace, or -1 */
int socket_answers(FILE *out, int fd);

/*
 * unheld.c: declares what the recorder cannot find out by itself, in the file UNHELD. A socket that its last holder is
 * about to let go of is asked about everything while it can be; of the others a port of the home network is known.
 */
#define UNHELD "/unheld"
void declarations(void); /* before anything is declared */
void unheld(const char *reason, int fd);
void unheld_port(const char *reason, int protocol, int port);
void unheld_uid(int port, uid_t uid);
/* Sends descriptors through a UNIX socket and closes them here. */
void send_away(int through, const int *fds, int count);

/* groups.c: the caller's place among the control groups; directories are made */
void into_group(const char *path);

/* network.c */
void bring_up(const char *device);
void address_on(const char *device, const char *host, int prefix);
void default_route(const char *device, int family);

/* one function for each file of actors */
void process_actors(void);
void thread_actors(void);
void socket_actors(void);
void mptcp_actors(void);
void tcp_actors(void);
void namespace_actors(void);
void container_actors(void);
void sender_actors(void);
void unheld_actors(void);

#endif
