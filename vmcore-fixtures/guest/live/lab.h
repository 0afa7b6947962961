/*
 * The lab's program, which runs in a guest and outside of it: who talks, who answers, and what each of them counted.
 *
 * What is sent is known in advance: of a flow, byte by byte, from its number and its user. Both sides count, and each compares
 * what it gets with what it has to be, so that nothing is lost, doubled or exchanged without being seen.
 */
#ifndef LAB_H
#define LAB_H

#include "../guest.h"

#define QUIET (1ul << 50) /* in a flow's number: nothing is to be sent back */

enum { RECORD = 32, READY = 3 /* the descriptor that is told of the start, and closed */ };

struct record {
  uint32_t magic, uid;
  uint64_t flow, sequence, rest;
};
_Static_assert(sizeof(struct record) == RECORD, "a record has no holes");

struct record record_of(uint32_t uid, uint64_t flow, uint64_t sequence);
int is_record(const struct record *record);
/* Writes what a stream of such records has from that offset on. */
void stream_of(uint32_t uid, uint64_t flow, uint64_t offset, char *bytes, size_t length);

int64_t monotonic(void); /* nanoseconds */

/* What comes after `name=` among the arguments, or `otherwise`. */
const char *setting(char **arguments, const char *name, const char *otherwise);
long number(char **arguments, const char *name, long otherwise);

/* "tcp4:22", and a local port behind another colon */
struct endpoint {
  int family, type, port, local_port;
};
struct endpoint endpoint_of(const char *text);
void print_endpoint(FILE *out, struct endpoint endpoint);

void become_user(char **arguments); /* uid=, comm= */
int control_on(const char *path);
/* The next who asks, and what: NULL when there is nobody. What is written to it is the answer, ended by fclose. */
FILE *asked(int control, char *line, size_t size);

int talk(const char *control, char **arguments);      /* lab_talk.c */
int serve(const char *control, char **arguments);     /* lab_serve.c */
int container(const char *control, char **arguments); /* lab_container.c */
int web(char **arguments);                            /* lab_web.c */

#endif
