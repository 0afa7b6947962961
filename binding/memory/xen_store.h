#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/xen_libraries.h"

namespace xfilter {

/// Xen's store of what its tools know of domains: a connection to it. For one thread.
class XenStore {
 public:
  /// XEN_UNAVAILABLE if xenstored does not answer.
  static Result<std::unique_ptr<XenStore>> open(const XenLibraries& functions);
  static Result<std::unique_ptr<XenStore>> open();

  XenStore(const XenStore&) = delete;
  XenStore& operator=(const XenStore&) = delete;
  ~XenStore();

  /// Empty if there is nothing of this path. XEN_UNAVAILABLE, SOURCE_PERMISSION.
  Result<std::optional<std::string>> read(const std::string& path) const;
  /// The names below a path.
  Result<std::optional<std::vector<std::string>>> list(const std::string& path) const;

  /// Whether what happens at `path` is told from here on; the first event comes at once.
  bool watch(const std::string& path);
  /// Readable when there are events.
  int descriptor() const;
  /// The paths at which something has happened since.
  std::vector<std::string> events();

 private:
  XenStore(const XenLibraries& functions, void* store) : functions_(functions), store_(store) {}

  const XenLibraries& functions_;
  void* store_;
};

}  // namespace xfilter
