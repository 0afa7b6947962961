/* Leaves, standing still, every kind of process and socket that the reader has to tell apart. */
#include "guest.h"

#include <unistd.h>

int main(void) {
  declarations();
  process_actors();
  thread_actors();
  namespace_actors();
  socket_actors();
  container_actors();
  sender_actors();
  mptcp_actors();
  unheld_actors();
  tcp_actors();
  must(write(3, "", 1), "ready"); /* init waits for it */
  for (;;) pause();
}
