#include "memory/xen_store.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace xfilter {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

tl::unexpected<Error> silent(int error) {
  if (error == EACCES || error == EPERM) {
    return failure("SOURCE_PERMISSION", "xenstore is refused to this process.", "Run this as root in Dom0.");
  }
  return failure("XEN_UNAVAILABLE", std::string("xenstore does not answer: ") + std::strerror(error) + ".",
                 "Run this as root in Dom0, where xenstored runs (`xenstore-ls` shows what it has).");
}

}  // namespace

Result<std::unique_ptr<XenStore>> XenStore::open() {
  const auto functions = XenLibraries::load();
  if (!functions) return tl::unexpected(functions.error());
  return open(**functions);
}

Result<std::unique_ptr<XenStore>> XenStore::open(const XenLibraries& functions) {
  void* const store = functions.storeOpen(0);
  if (store == nullptr) return silent(errno);
  return std::unique_ptr<XenStore>(new XenStore(functions, store));
}

XenStore::~XenStore() { functions_.storeClose(store_); }

// That nothing is there is said of what is not: of a device that was not found nothing would be filtered.
Result<std::optional<std::string>> XenStore::read(const std::string& path) const {
  unsigned size = 0;
  const std::unique_ptr<void, Free> value(functions_.storeRead(store_, 0, path.c_str(), &size));
  if (value) return std::string(static_cast<const char*>(value.get()), size);
  if (errno != ENOENT) return silent(errno);
  return std::nullopt;
}

Result<std::optional<std::vector<std::string>>> XenStore::list(const std::string& path) const {
  unsigned count = 0;
  const std::unique_ptr<char*, Free> names(functions_.storeList(store_, 0, path.c_str(), &count));
  if (names) return std::vector<std::string>(names.get(), names.get() + count);
  if (errno != ENOENT) return silent(errno);
  return std::nullopt;
}

bool XenStore::watch(const std::string& path) {
  return functions_.storeWatch(store_, path.c_str(), path.c_str());
}

int XenStore::descriptor() const { return functions_.storeDescriptor(store_); }

std::vector<std::string> XenStore::events() {
  std::vector<std::string> paths;
  while (const auto event = std::unique_ptr<char*, Free>(functions_.storeEvent(store_)))
    paths.emplace_back(event.get()[0]);
  return paths;
}

}  // namespace xfilter
