/* The guest's first process: modules, settings, the workload, and when that stands still, the recorder. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void mount_on(const char *type, const char *path) {
  mkdir(path, 0755);
  must(mount(type, path, type, 0, NULL), path);
}

/* The builder lists the modules so that each comes after those it needs. */
static void load_modules(void) {
  char path[256];
  FILE *list = fopen("/modules/list", "r");
  if (!list) fail("/modules/list");
  while (fgets(path, sizeof path, list)) {
    path[strcspn(path, "\n")] = 0;
    int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
    must(syscall(SYS_finit_module, fd, "", 0), path);
    close(fd);
  }
  fclose(list);
}

static void settings(void) {
  write_text("/proc/sys/kernel/printk", "4");
  write_text("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  write_text("/proc/sys/net/ipv4/tcp_syn_retries", "127"); /* connections that nobody answers outlast the recording */
  write_text("/proc/sys/net/ipv4/tcp_synack_retries", "100");
  write_text("/proc/sys/net/ipv4/tcp_orphan_retries", "100");
  write_text("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999");
  try_write_text("/proc/sys/net/mptcp/enabled", "1"); /* absent before 5.6, and off in some builds */
  bring_up("lo");
  bring_up("dummy0");
  address_on("dummy0", OWN4, 24);
  address_on("dummy0", OWN6, 64);
  default_route("dummy0", AF_INET);
  default_route("dummy0", AF_INET6);
}

static void run(const char *path, const char *name, int wait_for_ready) {
  int pipes[2];
  char byte;
  must(pipe2(pipes, O_CLOEXEC), "pipe");
  if (must(fork(), "fork") == 0) {
    if (wait_for_ready) must(dup2(pipes[1], 3), "dup2");
    execl(path, name, NULL);
    fail(path);
  }
  close(pipes[1]);
  if (wait_for_ready && read(pipes[0], &byte, 1) != 1) fail("the workload ended before it was ready");
  close(pipes[0]);
}

/* If the builder packed a kernel to go on with: jumps into it, and everything that stands here is left behind. */
static void go_on_with_next(void) {
  static const char arguments[] = "console=ttyS0 panic=-1";
  int kernel = open("/next/kernel", O_RDONLY | O_CLOEXEC), initramfs = open("/next/initramfs", O_RDONLY | O_CLOEXEC);
  if (kernel == -1) return;
  must(syscall(SYS_kexec_file_load, kernel, initramfs, sizeof arguments, arguments, 0), "kexec_file_load");
  must(reboot((int)LINUX_REBOOT_CMD_KEXEC), "kexec");
}

int main(void) {
  mount_on("proc", "/proc");
  mount_on("sysfs", "/sys");
  mount_on("devtmpfs", "/dev");
  dup2(must(open("/dev/console", O_RDWR), "/dev/console"), 0);
  dup2(0, 1);
  dup2(0, 2);
  mount_on("cgroup2", "/sys/fs/cgroup");
  load_modules();
  settings();
  run("/workload", "workload", 1);
  go_on_with_next();
  sleep(1); /* what the last actors' packets set in motion comes to rest */
  run("/record", "record", 0);
  for (;;) pause();
}
