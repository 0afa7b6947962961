/* What the programs of a live guest share: see agent.c and churn.c. */
#ifndef LIVE_H
#define LIVE_H

#include "../guest.h"

/*
 * Users of the churn: their uids and ports are nobody else's in any workload. A user's first ports are his long-lived
 * sockets', the others come and go.
 */
enum {
  FIRST_UID = 1050,
  USERS = 12,
  PORTS = 100,
  LONG_LIVED_PORTS = 20,
};

static inline int first_port(uid_t uid) { return 20000 + PORTS * (int)(uid - 1000); }

/* load.c: what a guest is made to do while it is watched. Each returns the pid of the process that does it. */
pid_t serve_echo(const char *host, int port);
pid_t write_disk(const char *device);
unsigned long loop_for(long milliseconds);

/* user.c: what a user's processes do, as fast as they can */
unsigned next_random(void);
int chance(int one_in);
extern int lowest_fd; /* the descriptors from here on come and go */
void close_all(void);
void open_socket(uid_t uid);
void open_sockets(uid_t uid);
void child(uid_t uid);
void worker(uid_t uid, int rounds) __attribute__((noreturn));

/* long_lived.c: starts a user's long-lived processes, which report what they hold on descriptor 3 */
void long_lived(uid_t uid) __attribute__((noreturn));

#endif
