#include "guest.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void into_group(const char *path) {
  char place[512];
  snprintf(place, sizeof place, "/sys/fs/cgroup%s/cgroup.procs", path);
  for (char *slash = place + strlen("/sys/fs/cgroup/"); (slash = strchr(slash, '/')); slash++) {
    *slash = 0;
    mkdir(place, 0755);
    *slash = '/';
  }
  write_text(place, "0");
}
