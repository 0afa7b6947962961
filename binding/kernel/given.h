#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/kernel_file.h"

namespace xfilter {

struct GivenFiles {
  std::optional<GivenFile> types, symbols, profile;
};

/// What a guest's memory says of its kernel, where it says it.
struct KernelIdentity {
  std::string_view release;
  std::string_view banner;  // empty: not known
  std::optional<std::string> buildId{};
  bool symbolsLead = true;  // the given ones, to this kernel
};

/// Types and symbols from outside the guest: then the guest's word on them is not needed.
class Given {
 public:
  /// Reads the files. A file that is given for its types gives symbols, too, if it has any and no other file
  /// is given for them.
  static Result<Given> read(const GivenFiles& files);

  /// nullptr where nothing was given that has any.
  const KernelFile* types() const { return types_; }
  const KernelFile* symbols() const { return symbols_; }

  /// What reading them took.
  uint64_t elapsedNs() const { return elapsedNs_; }
  /// "vmlinux PATH, System.map PATH"
  std::string describe() const;

  /// PROFILE_MISMATCH where a file is of another kernel than the guest's, as far as both tell.
  std::optional<Error> mismatch(const KernelIdentity& guest) const;

  /// A profile of what was given, as JSON.
  Result<std::string> profile() const;

 private:
  std::vector<std::unique_ptr<KernelFile>> files_;
  const KernelFile* types_ = nullptr;
  const KernelFile* symbols_ = nullptr;
  uint64_t elapsedNs_ = 0;
};

/// What to do about missing types and symbols.
inline constexpr char kSupplyTypes[] =
    "Give the types of exactly this kernel (types): its vmlinux, a BTF file such as "
    "/sys/kernel/btf/vmlinux of a machine that runs it, or an ISF file; or a profile made of these "
    "(profile).";
inline constexpr char kSupplySymbols[] =
    "Give the symbols of exactly this kernel (symbols): its System.map, vmlinux or ISF file; or a "
    "profile made of these (profile). A kernel tells its own if it was built with CONFIG_KALLSYMS "
    "and CONFIG_KALLSYMS_ALL.";

}  // namespace xfilter
