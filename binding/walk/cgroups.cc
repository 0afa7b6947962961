#include "walk/cgroups.h"

#include "walk/process.h"

namespace xfilter {
namespace {

constexpr size_t kMaxPath = 4096;  // PATH_MAX
constexpr size_t kMaxName = 255;   // NAME_MAX

}  // namespace

uint32_t Cgroups::of(GuestObject& task) {
  const auto& member = walk_.layout().cgroup;
  if (!member) return kNoId;
  GuestObject set(walk_.memory, task.pointer(member->cgroups));
  const VirtualAddress group = set.pointer(member->dfl_cgrp);
  if (!set.ok()) {
    ++walk_.quality.badPointers;
    return kNoId;
  }
  const auto [index, isNew] = known_.insert(group, static_cast<uint32_t>(paths_.size()));
  if (current_.insert(group, 0).second) {
    const auto node = walk_.memory.readPointer(group + member->kn.offset);
    if (!node) ++walk_.quality.badPointers;
    std::string path = node ? pathOf(*node) : "";
    if (isNew || path != paths_[*index]) {
      *index = static_cast<uint32_t>(paths_.size());
      paths_.push_back(std::move(path));
    }
  }
  return paths_[*index].empty() ? kNoId : *index;
}

// From the leaf to the root, whose node has no parent and no name. Empty where that is not reached.
std::string Cgroups::pathOf(VirtualAddress address) {
  const auto& member = *walk_.layout().cgroup;
  std::string path;
  while (path.size() < kMaxPath && walk_.budget.spend()) {
    GuestObject node(walk_.memory, address);
    const VirtualAddress parent = node.pointer(member.parent);
    const auto name = walk_.readString(node.pointer(member.name), kMaxName);
    if (!node.ok() || !name) {
      ++walk_.quality.badPointers;
      return {};
    }
    if (!parent) return path.empty() ? "/" : path;
    path.insert(0, "/" + *name);
    address = parent;
  }
  ++walk_.quality.limited;
  return {};
}

}  // namespace xfilter
