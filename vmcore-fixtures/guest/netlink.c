/* Generic netlink, as much as it takes to ask a family of the kernel for one thing. */
#include "netlink.h"
#include "guest.h"

#include <string.h>
#include <unistd.h>

struct nlattr *attribute(struct message *message, int type, const void *data, int length) {
  struct nlattr *attribute = (void *)((char *)message + message->header.nlmsg_len);
  attribute->nla_type = type;
  attribute->nla_len = NLA_HDRLEN + length;
  if (length) memcpy(attribute + 1, data, length);
  message->header.nlmsg_len += NLA_HDRLEN + NLA_ALIGN(length);
  return attribute;
}

struct message message_for(int type, int command, int version) {
  struct message message = {.header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
  message.header.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN;
  message.generic.cmd = command;
  message.generic.version = version;
  return message;
}

void exchange(int fd, struct message *message, char *answer, size_t size) {
  must(send(fd, message, message->header.nlmsg_len, 0), "netlink");
  must(recv(fd, answer, size, 0), "netlink");
  struct nlmsghdr *header = (void *)answer;
  struct nlmsgerr *error = NLMSG_DATA(header);
  if (header->nlmsg_type == NLMSG_ERROR && error->error != 0) fail("netlink refuses");
}

int netlink_family(int fd, const char *name) {
  char answer[4096];
  struct message message = message_for(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
  message.header.nlmsg_flags = NLM_F_REQUEST;
  attribute(&message, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
  must(send(fd, &message, message.header.nlmsg_len, 0), "netlink");
  must(recv(fd, answer, sizeof answer, 0), "netlink");
  struct nlmsghdr *header = (void *)answer;
  if (header->nlmsg_type == NLMSG_ERROR) return -1;
  char *end = answer + header->nlmsg_len;
  struct nlattr *at = (void *)((char *)NLMSG_DATA(header) + GENL_HDRLEN);
  for (; (char *)at < end; at = (void *)((char *)at + NLA_ALIGN(at->nla_len)))
    if (at->nla_type == CTRL_ATTR_FAMILY_ID) return *(uint16_t *)(at + 1);
  return -1;
}
