// The floor: the least that following pointers from the task list to each socket's tuple costs on this
// machine. Offsets are compiled in (floor_layout.h, which `xfilter_bench --offsets IMAGE` prints for this one
// image), the raw image is mapped, addresses of the direct map are translated by a subtraction, and nothing
// is checked: a bad pointer would crash it.
//
// floor RAW_IMAGE RUNS
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "floor_layout.h"

enum { kWarmUp = 20, kMaxTuples = 1 << 20 };

typedef struct {
  uint64_t sock;
  uint32_t local, remote;
  uint16_t localPort, remotePort, protocol, family;
} Tuple;

static const char* memory;
static Tuple tuples[kMaxTuples];
static uint64_t processes, owners;

// The first tasks' structures lie in the kernel's image, all others in the direct map.
static const char* at(uint64_t address) {
  return memory + (address - (address >= 0xffffffff80000000ull ? KERNEL_IMAGE : DIRECT_MAP));
}

#define DEFINE_READ(name, type)          \
  static type name(const char* place) {  \
    type value;                          \
    memcpy(&value, place, sizeof value); \
    return value;                        \
  }
DEFINE_READ(read16, uint16_t)
DEFINE_READ(read32, uint32_t)
DEFINE_READ(read64, uint64_t)

static int isFlow(uint16_t type, uint16_t protocol) {
  if (type == 3) return 1;  // SOCK_RAW
  if (type == 1) return protocol == 6;
  return type == 2 && (protocol == 17 || protocol == 136 || protocol == 1 || protocol == 58);
}

static void visitFile(uint64_t address) {
  const char* file = at(address);
  if (read64(file + FILE_F_OP) != SOCKET_FILE_OPS) return;
  const uint64_t address_of_sock = read64(at(read64(file + FILE_PRIVATE_DATA)) + SOCKET_SK);
  if (address_of_sock == 0) return;
  const char* sock = at(address_of_sock);
  const uint16_t family = read16(sock + SOCK_FAMILY);
  if (family != 2 && family != 10) return;
  const uint16_t type = read16(sock + SOCK_TYPE);
  const uint16_t protocol =
      SOCK_PROTOCOL_SIZE == 1 ? (uint8_t)sock[SOCK_PROTOCOL] : read16(sock + SOCK_PROTOCOL);
  if (!isFlow(type, protocol)) return;
  tuples[owners++ % kMaxTuples] = (Tuple){
      .sock = address_of_sock,
      .local = read32(sock + SOCK_RCV_SADDR),
      .remote = read32(sock + SOCK_DADDR),
      .localPort = __builtin_bswap16(read16(sock + INET_SPORT)),
      .remotePort = __builtin_bswap16(read16(sock + INET_DPORT)),
      .protocol = type == 3 ? 0 : protocol,
      .family = family,
  };
}

static void visitTable(uint64_t files) {
  const char* table = at(read64(at(files) + FILES_FDT));
  const uint32_t descriptors = read32(table + FDTABLE_MAX_FDS);
  const char* slots = at(read64(table + FDTABLE_FD));
  const char* bits = at(read64(table + FDTABLE_OPEN_FDS));
  for (uint32_t first = 0; first < descriptors; first += 64) {
    for (uint64_t open = read64(bits + first / 8); open != 0; open &= open - 1) {
      const uint64_t file = read64(slots + 8ull * (first + (uint32_t)__builtin_ctzll(open)));
      if (file) visitFile(file);
    }
  }
}

static void walk(void) {
  processes = owners = 0;
  const uint64_t head = INIT_TASK + TASK_TASKS;
  uint64_t node = read64(at(head));
  for (; node != head; node = read64(at(node))) {
    ++processes;
    const uint64_t files = read64(at(node) - TASK_TASKS + TASK_FILES);
    if (files) visitTable(files);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int count, char** arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: floor RAW_IMAGE RUNS\n");
    return 2;
  }
  const int file = open(arguments[1], O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) {
    perror(arguments[1]);
    return 1;
  }
  memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    perror(arguments[1]);
    return 1;
  }
  const int runs = atoi(arguments[2]);
  printf("{\"what\":\"floor: fd side, offsets compiled in, no checks\",\"times\":[");
  for (int run = -kWarmUp; run < runs; ++run) {
    const double start = now();
    walk();
    if (run >= 0) printf("%s%.6f", run == 0 ? "" : ",", now() - start);
  }
  printf("]}\n");

  uint64_t ports = 0;
  for (uint64_t i = 0; i < owners && i < kMaxTuples; ++i) {
    if (tuples[i].protocol) ports += tuples[i].localPort + 3ull * tuples[i].remotePort;
  }
  if (processes == EXPECTED_PROCESSES && owners == EXPECTED_OWNERS && ports == EXPECTED_PORTS) return 0;
  fprintf(stderr, "floor: %llu processes, %llu owners, ports %llu; the walk has %llu, %llu, %llu\n",
          (unsigned long long)processes, (unsigned long long)owners, (unsigned long long)ports,
          EXPECTED_PROCESSES, EXPECTED_OWNERS, EXPECTED_PORTS);
  return 1;
}
