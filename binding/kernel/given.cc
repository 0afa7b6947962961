#include "kernel/given.h"

#include <chrono>

#include "kernel/layout.h"
#include "kernel/profile.h"

namespace xfilter {
namespace {

tl::unexpected<Error> without(const KernelFile& file, const char* code, const std::string& what) {
  const std::string message = file.path + (file.format == "ISF" ? ", an " : ", a ") +
                              std::string(file.format) + ", has no " + what + ".";
  return failure(code, message, std::string_view(code) == "TYPES_INVALID" ? kSupplyTypes : kSupplySymbols);
}

Error differs(const KernelFile& file, const std::string& itsOwn, const std::string& guests) {
  return {"PROFILE_MISMATCH",
          file.path + " is of another kernel than the guest's: " + itsOwn + ", the guest " + guests + ".",
          "Give types and symbols of exactly the guest's kernel, or none to use what it carries itself."};
}

}  // namespace

Result<Given> Given::read(const GivenFiles& files) {
  const auto start = std::chrono::steady_clock::now();
  Given given;
  for (const auto* const file : {&files.profile, &files.types, &files.symbols}) {
    if (!*file) continue;
    auto read = KernelFile::read(**file);
    if (!read) {
      const bool renamed = file == &files.symbols && std::string_view(read.error().code) == "TYPES_INVALID";
      if (renamed) read.error().code = "SYMBOLS_INVALID";
      return tl::unexpected(read.error());
    }
    const KernelFile& added = *given.files_.emplace_back(std::make_unique<KernelFile>(std::move(*read)));
    if (file == &files.symbols) {
      // Debian's package of a kernel has a System.map of one line that says where the real one is.
      if (!added.symbols.find("_stext")) return without(added, "SYMBOLS_INVALID", "symbol _stext");
      given.symbols_ = &added;
      continue;
    }
    if (!added.types) {
      return without(added, "TYPES_INVALID", added.onlyDwarf ? "BTF, only DWARF" : "types");
    }
    given.types_ = &added;
    if (added.symbols.find("_stext")) given.symbols_ = &added;
  }
  const auto elapsed = std::chrono::steady_clock::now() - start;
  given.elapsedNs_ = static_cast<uint64_t>(std::chrono::nanoseconds(elapsed).count());
  return given;
}

std::string Given::describe() const {
  std::string text;
  for (const auto& file : files_) {
    text += (text.empty() ? "" : ", ") + std::string(file->format) + " " + file->path;
  }
  return text;
}

std::optional<Error> Given::mismatch(const KernelIdentity& guest) const {
  const std::string version = "Linux version ";
  const std::string begin = version + std::string(guest.release) + (guest.release.empty() ? "" : " ");
  const bool hasBanner = guest.banner.starts_with(begin);
  const std::string runs =
      "runs \"" + (hasBanner ? std::string(guest.banner) : version + std::string(guest.release)) + "\"";
  for (const auto& file : files_) {
    if (file->buildId && guest.buildId && *file->buildId != *guest.buildId)
      return differs(*file, "its build id is " + *file->buildId, "has " + *guest.buildId);
    if (file->banner && hasBanner && *file->banner != guest.banner)
      return differs(*file, "it is of \"" + *file->banner + "\"", runs);
  }
  if (symbols_ == nullptr) return std::nullopt;
  const bool banner = hasBanner || !symbols_->symbols.find("linux_banner");
  if (guest.symbolsLead && banner) return std::nullopt;
  return differs(
      *symbols_,
      symbols_->banner ? "it is of \"" + *symbols_->banner + "\"" : "its symbols do not lead to it", runs);
}

Result<std::string> Given::profile() const {
  Profile profile;
  const auto layout = Layout::resolve(Profile::Recorder(*types_->types, profile));
  if (!layout) return tl::unexpected(layout.error());
  if (symbols_ != nullptr) profile.symbols = symbols_->symbols;
  for (const auto& file : files_) {
    if (!profile.banner) profile.banner = file->banner;
    if (!profile.buildId) profile.buildId = file->buildId;
  }
  return profile.toJson();
}

}  // namespace xfilter
