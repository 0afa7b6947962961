/*
 *   flood sink PORT             has a socket of UDP at the port, and never reads
 *   flood send ADDRESS PORT MS  sends to it, over IPv4, as fast as it goes; the milliseconds that it really took
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 32, BYTES = 64 };

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int count, char **words) {
  int sinks = count == 3 && strcmp(words[1], "sink") == 0;
  if (!sinks && (count != 5 || strcmp(words[1], "send") != 0)) return 2;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[sinks ? 2 : 3]))};
  if (sinks) {
    int room = 0; /* the least there is: what does not fit costs the same each time */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) != 0) return perror("SO_RCVBUF"), 1;
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) return perror("bind"), 1;
    puts("ready");
    fflush(stdout);
    for (;;) pause();
  }
  inet_pton(AF_INET, words[2], &at.sin_addr);
  if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) return perror("connect"), 1;
  static char bytes[BYTES];
  struct iovec vector = {bytes, sizeof bytes};
  struct mmsghdr messages[AT_ONCE];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < AT_ONCE; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1};
  double start = milliseconds(), end = start + atof(words[4]);
  while (milliseconds() < end)
    if (sendmmsg(fd, messages, AT_ONCE, 0) < 0) return perror("sendmmsg"), 1;
  printf("%f\n", milliseconds() - start);
  return 0;
}
