#include "node/columns.h"

#include <algorithm>
#include <type_traits>

namespace xfilter::node {
namespace {

template <class T>
Napi::Value typedArray(Napi::Env env, const std::vector<T>& values) {
  auto array = Napi::TypedArrayOf<T>::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

/// Fills an object, property by property.
class ObjectBuilder {
 public:
  explicit ObjectBuilder(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}

  template <class T>
  ObjectBuilder& set(const char* name, const T& value) {
    if constexpr (std::is_same_v<T, uint64_t> || std::is_same_v<T, uint32_t>) {
      object_.Set(name, Napi::Number::New(env_, static_cast<double>(value)));
    } else {
      object_.Set(name, value);
    }
    return *this;
  }
  template <class T>
  ObjectBuilder& column(const char* name, const std::vector<T>& values) {
    object_.Set(name, typedArray(env_, values));
    return *this;
  }

  Napi::Object build() const { return object_; }

 private:
  Napi::Env env_;
  Napi::Object object_;
};

template <class T, class Convert>
Napi::Array array(Napi::Env env, const std::vector<T>& values, Convert convert) {
  Napi::Array result = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) result.Set(i, convert(values[i]));
  return result;
}

Napi::Object processes(Napi::Env env, const Snapshot::Processes& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.pid.size()))
      .column("task", columns.task)
      .column("startTime", columns.startTime)
      .column("pid", columns.pid)
      .column("ppid", columns.ppid)
      .column("uid", columns.uid)
      .column("euid", columns.euid)
      .column("suid", columns.suid)
      .column("fsuid", columns.fsuid)
      .column("gid", columns.gid)
      .column("egid", columns.egid)
      .column("sgid", columns.sgid)
      .column("fsgid", columns.fsgid)
      .column("loginuid", columns.loginuid)
      .column("session", columns.session)
      .column("sessionid", columns.sessionid)
      .column("nspid", columns.nspid)
      .column("netns", columns.netns)
      .column("pidns", columns.pidns)
      .column("threads", columns.threads)
      .column("comm", columns.comm)
      .column("cpu", columns.cpu)
      .column("state", columns.state)
      .column("flags", columns.flags)
      .column("cgroup", columns.cgroup)
      .column("exe", columns.exe)
      .column("args", columns.args)
      .column("argsAbsent", columns.argsAbsent)
      .build();
}

Napi::Object sockets(Napi::Env env, const Snapshot::Sockets& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.sock.size()))
      .column("sock", columns.sock)
      .column("inode", columns.inode)
      .column("uid", columns.uid)
      .column("netns", columns.netns)
      .column("boundInterface", columns.boundInterface)
      .column("ownersEnd", columns.ownersEnd)
      .column("localAddress", columns.localAddress)
      .column("remoteAddress", columns.remoteAddress)
      .column("localPort", columns.localPort)
      .column("remotePort", columns.remotePort)
      .column("protocol", columns.protocol)
      .column("family", columns.family)
      .column("state", columns.state)
      .column("flags", columns.flags)
      .column("unownedReason", columns.unownedReason)
      .build();
}

Napi::Object owners(Napi::Env env, const Snapshot::Owners& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.fd.size()))
      .column("process", columns.process)
      .column("fd", columns.fd)
      .build();
}

Napi::Object otherSockets(Napi::Env env, const Snapshot::OtherSockets& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.sock.size()))
      .column("sock", columns.sock)
      .column("inode", columns.inode)
      .column("netns", columns.netns)
      .column("ownersEnd", columns.ownersEnd)
      .column("kind", columns.kind)
      .build();
}

Napi::Object namespaces(Napi::Env env, const Snapshot::Namespaces& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.inode.size()))
      .column("inode", columns.inode)
      .column("devicesEnd", columns.devicesEnd)
      .column("flags", columns.flags)
      .build();
}

Napi::Object devices(Napi::Env env, const Snapshot::Devices& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.index.size()))
      .column("index", columns.index)
      .column("name", columns.name)
      .column("mac", columns.mac)
      .column("flags", columns.flags)
      .column("addressesEnd", columns.addressesEnd)
      .build();
}

Napi::Object deviceAddresses(Napi::Env env, const Snapshot::DeviceAddresses& columns) {
  return ObjectBuilder(env)
      .set("count", static_cast<uint32_t>(columns.family.size()))
      .column("address", columns.address)
      .column("family", columns.family)
      .build();
}

Napi::Object differenceRows(Napi::Env env, const Difference::Rows& rows) {
  std::vector<uint32_t> before, after;
  for (const Difference::Change& change : rows.changed) {
    before.push_back(change.before);
    after.push_back(change.after);
  }
  return ObjectBuilder(env)
      .column("gone", rows.gone)
      .column("came", rows.came)
      .column("changedBefore", before)
      .column("changedAfter", after)
      .build();
}

Napi::Object quality(Napi::Env env, const Quality& q) {
  return ObjectBuilder(env)
      .set("elapsedNs", q.elapsedNs)
      .set("processes", q.processes)
      .set("threads", q.threads)
      .set("fdTables", q.fdTables)
      .set("files", q.files)
      .set("sockets", q.sockets)
      .set("retries", q.retries)
      .set("torn", q.torn)
      .set("abandoned", q.abandoned)
      .set("badPointers", q.badPointers)
      .set("limited", q.limited)
      .build();
}

}  // namespace

Napi::Value toJs(Napi::Env env, const Kernel& kernel, const PhysicalMemory& memory) {
  const auto step = [env](const AttachStep& s) {
    return ObjectBuilder(env)
        .set("name", s.name)
        .set("how", s.how)
        .set("found", s.found)
        .set("elapsedNs", s.elapsedNs)
        .build();
  };
  const auto missing = [env](const Layout::MissingMember& m) {
    return ObjectBuilder(env).set("member", m.member).set("costs", m.costs).build();
  };
  return ObjectBuilder(env)
      .set("format", std::string(memory.format()))
      .set("memoryBytes", Napi::BigInt::New(env, memory.size()))
      .set("architecture", "x86_64")
      .set("release", kernel.release)
      .set("banner", kernel.banner)
      .set("pagingLevels", static_cast<uint32_t>(kernel.space.levels()))
      .set("kaslrOffset", Napi::BigInt::New(env, kernel.kaslrOffset))
      .set("physBase", Napi::BigInt::New(env, kernel.physBase))
      .set("buildId", kernel.buildId ? Napi::Value(Napi::String::New(env, *kernel.buildId)) : env.Null())
      .set("typesFrom", kernel.typesFromGuest ? "guest" : "file")
      .set("symbolsFrom", kernel.symbolsFromGuest ? "guest" : "file")
      .set("missing", array(env, kernel.layout.missing, missing))
      .set("steps", array(env, kernel.steps, step))
      .build();
}

Napi::Value toJs(Napi::Env env, const std::vector<VcpuTask>& vcpus) {
  return array(env, vcpus, [env](const VcpuTask& vcpu) {
    const auto task = [&]() -> Napi::Value {
      if (!vcpu.task) return env.Null();
      return ObjectBuilder(env)
          .set("cpu", vcpu.cpu)
          .set("pid", vcpu.pid)
          .set("tid", vcpu.tid)
          .set("comm", vcpu.comm)
          .set("address", Napi::BigInt::New(env, vcpu.task.value))
          .set("processes", vcpu.processes)
          .set("listed", vcpu.listed)
          .build();
    };
    return ObjectBuilder(env)
        .set("index", vcpu.index)
        .set("userMode", vcpu.userMode)
        .set("rip", Napi::BigInt::New(env, vcpu.rip))
        .set("task", task())
        .build();
  });
}

Napi::Value toJs(Napi::Env env, const Snapshot& snapshot) {
  return ObjectBuilder(env)
      .set("processes", processes(env, snapshot.processes))
      .set("discrepancies", ObjectBuilder(env)
                                .set("count", static_cast<uint32_t>(snapshot.discrepancies.kind.size()))
                                .column("process", snapshot.discrepancies.process)
                                .column("kind", snapshot.discrepancies.kind)
                                .build())
      .set("sockets", sockets(env, snapshot.sockets))
      .set("owners", owners(env, snapshot.owners))
      .set("otherSockets", otherSockets(env, snapshot.otherSockets))
      .set("otherOwners", owners(env, snapshot.otherOwners))
      .set("networkNamespaces", namespaces(env, snapshot.namespaces))
      .set("networkDevices", devices(env, snapshot.devices))
      .set("deviceAddresses", deviceAddresses(env, snapshot.deviceAddresses))
      .set("strings", ObjectBuilder(env)
                          .column("bytes", snapshot.strings.bytes())
                          .column("ends", snapshot.strings.ends())
                          .build())
      .set("quality", quality(env, snapshot.quality))
      .build();
}

Napi::Value toJs(Napi::Env env, const DifferenceColumns& difference) {
  return ObjectBuilder(env)
      .set("before", toJs(env, difference.before))
      .set("after", toJs(env, difference.after))
      .set("processes", differenceRows(env, difference.processes))
      .set("sockets", differenceRows(env, difference.sockets))
      .build();
}

}  // namespace xfilter::node
