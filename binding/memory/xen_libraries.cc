#include "memory/xen_libraries.h"

#include <dlfcn.h>

#include <fstream>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace xfilter {
namespace {

/// The first word of a file of the system's; empty where there is none.
std::string firstWord(const char* path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

tl::unexpected<Error> missing(std::string what) {
  return failure("XEN_UNAVAILABLE", std::move(what),
                 "Install the libraries of the Xen that runs: on Debian libxenmisc4.17 (for Xen 4.17), "
                 "libxenforeignmemory1 and libxenstore4, which xen-utils brings.");
}

class Library {
 public:
  static Result<Library> open(const std::vector<std::string>& names) {
    std::string error;
    for (const std::string& name : names) {
      if (void* const handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return Library(handle, name);
      if (const char* const why = dlerror()) error = why;
    }
    return missing("A library of Xen's tools cannot be loaded: " + error + ".");
  }

  /// Whether it was there.
  template <class Function>
  bool resolve(const char* symbol, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(handle_, symbol));
    if (function == nullptr && lacking_.empty()) lacking_ = symbol;
    return function != nullptr;
  }

  Result<void> complete() const {
    if (lacking_.empty()) return {};
    return missing(name_ + " has no " + lacking_ + ": it is of a Xen that is not known.");
  }

 private:
  Library(void* handle, std::string name) : handle_(handle), name_(std::move(name)) {}

  void* handle_;
  std::string name_;
  std::string lacking_;
};

Result<void> loadControl(XenLibraries& functions) {
  // A hypervisor speaks with the libxenctrl of its own version only (XEN_DOMCTL_INTERFACE_VERSION).
  const std::string major = firstWord("/sys/hypervisor/version/major");
  const std::string minor = firstWord("/sys/hypervisor/version/minor");
  auto library = Library::open({"libxenctrl.so." + major + "." + minor});
  if (!library) return tl::unexpected(library.error());
  library->resolve("xc_interface_open", functions.controlOpen);
  library->resolve("xc_interface_close", functions.controlClose);
  library->resolve("xc_domain_getinfolist", functions.domainInfo);
  library->resolve("xc_vcpu_getcontext", functions.vcpuContext);
  library->resolve("xc_domain_maximum_gpfn", functions.lastFrame);
  library->resolve("xc_domain_pause", functions.pause);
  library->resolve("xc_domain_unpause", functions.unpause);
  return library->complete();
}

Result<void> loadForeignMemory(XenLibraries& functions) {
  auto library = Library::open({"libxenforeignmemory.so.1"});
  if (!library) return tl::unexpected(library.error());
  library->resolve("xenforeignmemory_open", functions.foreignOpen);
  library->resolve("xenforeignmemory_close", functions.foreignClose);
  library->resolve("xenforeignmemory_map", functions.map);
  library->resolve("xenforeignmemory_unmap", functions.unmap);
  return library->complete();
}

Result<void> loadStore(XenLibraries& functions) {
  // The second is Xen 4.14's and older.
  auto library = Library::open({"libxenstore.so.4", "libxenstore.so.3.0"});
  if (!library) return tl::unexpected(library.error());
  library->resolve("xs_open", functions.storeOpen);
  library->resolve("xs_close", functions.storeClose);
  library->resolve("xs_read", functions.storeRead);
  library->resolve("xs_directory", functions.storeList);
  library->resolve("xs_watch", functions.storeWatch);
  library->resolve("xs_fileno", functions.storeDescriptor);
  library->resolve("xs_check_watch", functions.storeEvent);
  return library->complete();
}

}  // namespace

Result<const XenLibraries*> XenLibraries::load() {
  static std::mutex mutex;
  static XenLibraries functions;
  static bool loaded = false;
  const std::lock_guard lock(mutex);
  if (loaded) return &functions;
  if (firstWord("/sys/hypervisor/type") != "xen") {
    return failure("XEN_UNAVAILABLE", "This machine does not run on Xen.",
                   "Run this in Dom0, the domain from which `xl` controls the others.");
  }
  for (const auto load : {loadControl, loadForeignMemory, loadStore}) {
    if (const auto done = load(functions); !done) return tl::unexpected(done.error());
  }
  loaded = true;
  return &functions;
}

}  // namespace xfilter
