/* What is executed without any argument: the kernel shows its name as it was given to execve. */
#include <unistd.h>

int main(void) {
  for (;;) pause();
}
