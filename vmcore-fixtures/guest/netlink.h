#ifndef NETLINK_H
#define NETLINK_H

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stddef.h>

struct message {
  struct nlmsghdr header;
  struct genlmsghdr generic;
  char attributes[256];
};

struct message message_for(int type, int command, int version);
struct nlattr *attribute(struct message *message, int type, const void *data, int length);
/* Sends and takes one answer: an acknowledgement, or what was asked for followed by one. */
void exchange(int fd, struct message *message, char *answer, size_t size);
/* The number of a family by its name; -1: the kernel has none. */
int netlink_family(int fd, const char *name);

#endif
