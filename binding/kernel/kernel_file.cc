#include "kernel/kernel_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <span>

#include "kernel/isf.h"
#include "kernel/profile.h"
#include "kernel/system_map.h"
#include "kernel/vmlinux.h"

namespace xfilter {
namespace {

constexpr char kGive[] =
    "Give a vmlinux, a BTF file, an ISF file (Volatility's), a System.map (symbols only) or a profile that "
    "`xfilter profile` made, of exactly the guest's kernel.";

using Bytes = std::span<const std::byte>;

std::string_view textOf(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

bool isBtf(Bytes bytes) {
  constexpr std::array<unsigned char, 2> kMagic = {0x9f, 0xeb};
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

bool isJson(Bytes bytes) {
  const auto text = textOf(bytes);
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

std::optional<Error> readBtf(KernelFile& file, Bytes bytes) {
  auto btf = Btf::parse({bytes.begin(), bytes.end()});
  if (!btf) return btf.error();
  file.types = std::make_shared<Btf>(std::move(*btf));
  return std::nullopt;
}

std::optional<Error> readElf(KernelFile& file, Bytes bytes) {
  auto vmlinux = readVmlinux(bytes);
  if (!vmlinux) return vmlinux.error();
  file.onlyDwarf = vmlinux->hasDwarf && !vmlinux->types;
  if (vmlinux->types) file.types = std::make_shared<Btf>(std::move(*vmlinux->types));
  file.symbols = std::move(vmlinux->symbols);
  file.banner = std::move(vmlinux->banner);
  file.buildId = std::move(vmlinux->buildId);
  return std::nullopt;
}

std::optional<Error> readProfile(KernelFile& file, Bytes bytes) {
  auto profile = Profile::parse(textOf(bytes));
  if (!profile) return profile.error();
  file.symbols = profile->symbols;
  file.banner = profile->banner;
  file.buildId = profile->buildId;
  file.types = std::make_shared<Profile>(std::move(*profile));
  return std::nullopt;
}

std::optional<Error> readIsf(KernelFile& file, Bytes bytes) {
  auto isf = Isf::parse(textOf(bytes));
  if (!isf) return isf.error();
  file.symbols = isf->symbols();
  file.banner = isf->banner();
  file.types = std::make_shared<Isf>(std::move(*isf));
  return std::nullopt;
}

std::optional<Error> readMap(KernelFile& file, Bytes bytes) {
  auto symbols = readSystemMap(textOf(bytes));
  if (!symbols) return symbols.error();
  file.symbols = std::move(*symbols);
  return std::nullopt;
}

struct Format {
  std::string_view name;
  bool (*recognises)(Bytes);
  std::optional<Error> (*read)(KernelFile&, Bytes);
};

// Tried in order: a profile is JSON, too.
constexpr std::array kFormats = {
    Format{"BTF", isBtf, readBtf},
    Format{"vmlinux", isVmlinux, readElf},
    Format{"profile", [](Bytes bytes) { return isJson(bytes) && Profile::recognises(textOf(bytes)); },
           readProfile},
    Format{"ISF", isJson, readIsf},
    Format{"System.map", [](Bytes bytes) { return isSystemMap(textOf(bytes)); }, readMap},
};

/// What it is instead, where that is worth saying.
std::string describe(Bytes bytes) {
  constexpr size_t kBootSignature = 0x202;  // Documentation/arch/x86/boot.rst
  if (bytes.size() > kBootSignature + 4 && std::memcmp(bytes.data() + kBootSignature, "HdrS", 4) == 0)
    return "it is a compressed kernel (vmlinuz); the kernel's scripts/extract-vmlinux unpacks it";
  return "its content is none that is known";
}

/// The whole file by read(): sysfs, where a kernel's own BTF is, has files that cannot be mapped.
std::shared_ptr<const std::vector<std::byte>> readWhole(const std::string& path) {
  constexpr size_t kMaxBytes = size_t{64} << 20;
  std::ifstream file(path, std::ios::binary);
  auto bytes = std::make_shared<std::vector<std::byte>>();
  std::array<char, 1 << 16> buffer;
  while (file.read(buffer.data(), buffer.size()), file.gcount() > 0) {
    const auto* first = reinterpret_cast<const std::byte*>(buffer.data());
    bytes->insert(bytes->end(), first, first + file.gcount());
    if (bytes->size() > kMaxBytes) return nullptr;
  }
  return file.eof() && !bytes->empty() ? bytes : nullptr;
}

}  // namespace

Result<KernelFile> KernelFile::read(const GivenFile& given) {
  KernelFile file;
  file.path = given.path;
  file.unpacked_ = given.content;
  if (!given.content) {
    auto mapped = MappedFile::open(given.path);
    if (mapped) {
      file.mapped_ = std::move(*mapped);
    } else if (std::string_view(mapped.error().code) == "SOURCE_IO") {
      file.unpacked_ = readWhole(given.path);
    }
    if (!file.mapped_ && !file.unpacked_) {
      const bool isNone = std::string_view(mapped.error().code) == "SOURCE_FORMAT";
      return failure(isNone ? "TYPES_INVALID" : mapped.error().code, mapped.error().message,
                     isNone ? kGive : mapped.error().advice);
    }
  }
  const Bytes bytes = file.mapped_ ? file.mapped_->bytes() : Bytes(*file.unpacked_);

  const auto format =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const Format& f) { return f.recognises(bytes); });
  if (format == kFormats.end()) {
    return failure("TYPES_INVALID", given.path + " cannot be used: " + describe(bytes) + ".", kGive);
  }
  file.format = format->name;
  if (const auto error = format->read(file, bytes)) {
    return failure(error->code,
                   given.path + ", taken for " + std::string(format->name) + ": " + error->message,
                   error->advice);
  }
  if (file.banner && file.banner->ends_with('\0')) file.banner->resize(std::strlen(file.banner->c_str()));
  if (file.banner && file.banner->ends_with('\n')) file.banner->pop_back();
  return file;
}

}  // namespace xfilter
