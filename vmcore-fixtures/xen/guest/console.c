/*
 * The first process of a domain of Xen, which goes on as init. There is no virtio-serial port there: the recorder finds the
 * console in its place, and every byte passes that as it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static void must(int result, const char *what) {
  if (result != -1) return;
  printf("fixture: %s failed\n", what);
  exit(1); /* the kernel panics, and the builder sees it */
}

int main(void) {
  struct termios settings;
  must(tcgetattr(0, &settings), "tcgetattr");
  cfmakeraw(&settings);
  must(tcsetattr(0, TCSANOW, &settings), "tcsetattr");
  /* There is one devtmpfs, which init mounts on /dev; what is in it stays. */
  must(mkdir("/devices", 0755), "mkdir");
  must(mount("devtmpfs", "/devices", "devtmpfs", 0, NULL), "mount");
  must(symlink("hvc0", "/devices/vport0p1"), "symlink");
  must(umount("/devices"), "umount");
  must(execl("/init", "init", NULL), "/init");
}
