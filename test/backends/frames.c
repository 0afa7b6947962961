/*
 * Sends Ethernet frames, one a line in hex on the standard input, from a device: frames DEVICE [MICROSECONDS]
 * With a time, the last one over and over, so long apart.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count != 2 && count != 3) return 2;
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(words[1])};
  static char line[8192];
  static unsigned char frame[4096];
  if (fd < 0 || to.sll_ifindex == 0) return perror(words[1]), 1;
  size_t length = 0;
  while (fgets(line, sizeof line, stdin)) {
    length = 0;
    while (length < sizeof frame && sscanf(line + 2 * length, "%2hhx", frame + length) == 1) length++;
    /* ENOBUFS: the egress hook dropped it. */
    if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != ENOBUFS) return perror("sendto"), 1;
  }
  while (count == 3 && usleep((useconds_t)atoi(words[2])) == 0)
    if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != ENOBUFS) return perror("sendto"), 1;
  return 0;
}
