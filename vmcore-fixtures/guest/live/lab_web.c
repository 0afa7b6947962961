/*
 * A web server: some processes that share a listener, each with one client at a time, as Apache's prefork has them. Whatever is
 * asked for, the answer is the same: `bytes` bytes, the alphabet over and over. A connection ends when its client ends it.
 *
 *   uid=, comm=   who it is when it opens its sockets
 *   port=         where it listens, over IPv4
 *   bytes=, processes=
 */
#define _GNU_SOURCE
#include "lab.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 128, REQUEST = 4096 };

static char *answer;
static size_t answer_length;

static void make_answer(size_t bytes) {
  char head[128];
  int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", bytes);
  answer_length = length + bytes;
  answer = malloc(answer_length);
  if (!answer) fail("memory");
  memcpy(answer, head, length);
  for (size_t i = 0; i < bytes; i++) answer[length + i] = 'a' + i % 26;
}

/* 0: it will not be asked again. Who asks waits for the answer before he asks again, so a request ends what was read. */
static int asked_for(int client) {
  char request[REQUEST];
  size_t length = 0;
  while (length < 4 || memcmp(request + length - 4, "\r\n\r\n", 4) != 0) {
    ssize_t got = length < REQUEST ? read(client, request + length, REQUEST - length) : -1;
    if (got <= 0) return 0;
    length += got;
  }
  return 1;
}

static int answered(int client) {
  for (size_t gone = 0; gone < answer_length;) {
    ssize_t sent = send(client, answer + gone, answer_length - gone, MSG_NOSIGNAL);
    if (sent <= 0) return 0;
    gone += sent;
  }
  return 1;
}

static void serve_clients(int listener) {
  for (;;) {
    int client = accept(listener, NULL, NULL);
    if (client == -1) continue; /* who was reset before his turn */
    option(client, IPPROTO_TCP, TCP_NODELAY, 1);
    while (asked_for(client) && answered(client)) {
    }
    close(client);
  }
}

int web(char **arguments) {
  long processes = number(arguments, "processes", 8);
  make_answer(number(arguments, "bytes", 4096));
  int listener = listening(0, "0.0.0.0", number(arguments, "port", 80), BACKLOG);
  become_user(arguments);
  for (long i = 1; i < processes; i++)
    if (must(fork(), "fork") == 0) {
      close(READY);
      serve_clients(listener);
    }
  dprintf(READY, "{\"pids\":[%d]}", getpid());
  close(READY);
  serve_clients(listener);
  return 0;
}
