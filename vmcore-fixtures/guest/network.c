/* Devices, addresses and routes by ioctl: netlink would be the modern way, and three times as long. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct in6_address_request { /* struct in6_ifreq of linux/ipv6.h, which cannot be included beside netinet/in.h */
  struct in6_addr address;
  uint32_t prefix;
  int index;
};

static struct ifreq request_for(const char *device) {
  struct ifreq request = {0};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
  return request;
}

void bring_up(const char *device) {
  int fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  struct ifreq request = request_for(device);
  must(ioctl(fd, SIOCGIFFLAGS, &request), device);
  request.ifr_flags |= IFF_UP;
  must(ioctl(fd, SIOCSIFFLAGS, &request), device);
  close(fd);
}

void address_on(const char *device, const char *host, int prefix) {
  union address address = at(host, 0);
  int fd = must(socket(address.any.sa_family, SOCK_DGRAM, 0), "socket");
  struct ifreq request = request_for(device);
  if (address.any.sa_family == AF_INET) {
    memcpy(&request.ifr_addr, &address.in, sizeof address.in);
    must(ioctl(fd, SIOCSIFADDR, &request), "SIOCSIFADDR");
    address.in.sin_addr.s_addr = htonl(~0u << (32 - prefix));
    memcpy(&request.ifr_netmask, &address.in, sizeof address.in);
    must(ioctl(fd, SIOCSIFNETMASK, &request), "SIOCSIFNETMASK");
  } else {
    must(ioctl(fd, SIOCGIFINDEX, &request), device);
    struct in6_address_request wanted = {address.in6.sin6_addr, prefix, request.ifr_ifindex};
    must(ioctl(fd, SIOCSIFADDR, &wanted), "SIOCSIFADDR of IPv6");
  }
  close(fd);
}

void default_route(const char *device, int family) {
  int fd = must(socket(family, SOCK_DGRAM, 0), "socket");
  struct ifreq request = request_for(device);
  must(ioctl(fd, SIOCGIFINDEX, &request), device);
  if (family == AF_INET) {
    struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = request.ifr_name};
    route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
    must(ioctl(fd, SIOCADDRT, &route), "SIOCADDRT");
  } else {
    struct in6_rtmsg route = {.rtmsg_flags = RTF_UP, .rtmsg_metric = 1, .rtmsg_ifindex = request.ifr_ifindex};
    must(ioctl(fd, SIOCADDRT, &route), "SIOCADDRT of IPv6");
  }
  close(fd);
}
