#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/symbol_table.h"
#include "kernel/type_source.h"
#include "memory/result.h"

namespace xfilter {

/// What the walk needs to know of one kernel and nothing else, a few KB of JSON:
///
///     { "xfilterProfile": 1,
///       "kernel": { "banner": "Linux version …", "buildId": "86a1…" },
///       "symbols": { "init_task": "0xffffffff82a1aa40", … },         before KASLR moved them
///       "members": { "task_struct.tasks": { "offset": 2176, "size": 16 }, … },
///       "sizes": { "upid": 16 },
///       "enumerators": { "pid_type.PIDTYPE_SID": 3 } }
///
/// A member has `elements` if it is an array, `bitShift` and `bits` if it is a bit-field (type_source.h).
/// What the kernel does not have is null. What is not mentioned at all was not asked for when the profile was
/// made; to take that for absent would lose rows without a word.
class Profile : public TypeSource {
 public:
  static bool recognises(std::string_view text);
  /// What it does not know it passes over: a later version may have more. TYPES_INVALID says what is wrong.
  static Result<Profile> parse(std::string_view text);

  /// Passes questions on to `types` and writes down in `profile` what was answered: a layout resolved of it
  /// makes a profile of all that the layout asks for.
  class Recorder : public TypeSource {
   public:
    Recorder(const TypeSource& types, Profile& profile) : types_(types), profile_(profile) {}
    std::optional<Field> field(std::string_view type, std::string_view path) const override;
    std::optional<uint32_t> sizeOf(std::string_view type) const override;
    std::optional<int64_t> enumerator(std::string_view type, std::string_view name) const override;
    std::optional<Error> unanswered() const override;

   private:
    const TypeSource& types_;
    Profile& profile_;
  };

  std::optional<Field> field(std::string_view type, std::string_view path) const override;
  std::optional<uint32_t> sizeOf(std::string_view type) const override;
  std::optional<int64_t> enumerator(std::string_view type, std::string_view name) const override;
  std::optional<Error> unanswered() const override;

  std::string toJson() const;

  std::optional<std::string> banner, buildId;
  SymbolTable symbols;

 private:
  template <class T>
  using Answers = std::map<std::string, std::optional<T>, std::less<>>;

  template <class T>
  std::optional<T> answer(const Answers<T>& answers, std::string_view name) const;

  Answers<Field> members_;
  Answers<uint32_t> sizes_;
  Answers<int64_t> enumerators_;
  mutable std::optional<std::string> unanswered_;  // the first question
};

}  // namespace xfilter
