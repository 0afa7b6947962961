#pragma once

#include <functional>
#include <span>

#include "walk/context.h"

namespace xfilter {

/// Calls `visit` with the address of each sock in the kernel's hash tables, of all network namespaces: TCP
/// established, time-wait, requests, listening and bound; UDP, UDP-Lite, raw and ping. One sock may come
/// several times.
void forEachTableSock(WalkContext& walk, std::span<const VirtualAddress> namespaces,
                      const std::function<void(VirtualAddress)>& visit);

}  // namespace xfilter
