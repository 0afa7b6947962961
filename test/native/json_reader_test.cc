#include "kernel/json_reader.h"

#include <functional>
#include <string>

#include "doctest/doctest.h"

using xfilter::JsonReader;

namespace {

std::optional<uint64_t> integerOf(std::string_view text) {
  JsonReader reader(text);
  const auto value = reader.integer();
  return reader.atEnd() ? value : std::nullopt;
}

bool skips(std::string_view text) {
  JsonReader reader(text);
  reader.skip();
  return reader.atEnd();
}

bool readsObject(std::string_view text) {
  JsonReader reader(text);
  reader.object([&](std::string_view) { reader.skip(); });
  return reader.atEnd();
}

}  // namespace

TEST_CASE("integers keep all their bits") {
  CHECK(integerOf("18446744071562067968") == 0xffff'ffff'8000'0000);
  CHECK(integerOf("-1") == ~uint64_t{0});
  CHECK(integerOf(" 0 ") == 0);
  for (const auto* text : {"", "-", "1.5", "1e3", "18446744073709551616", "0x10", "one"}) {
    CAPTURE(text);
    CHECK_FALSE(integerOf(text));
  }
}

TEST_CASE("a value can be left out, whatever it is") {
  JsonReader reader(R"({"a": [1, {"}": "]\""}], "b": null, "wanted": 7, "c": {}})");
  std::optional<uint64_t> wanted;
  reader.object([&](std::string_view key) {
    if (key == "wanted") {
      wanted = reader.integer();
    } else {
      reader.skip();
    }
  });
  CHECK(reader.atEnd());
  CHECK(wanted == 7);
}

TEST_CASE("strings are unescaped") {
  JsonReader reader(R"("a\"\\\/\n\u0041\u00e9\ud83d\ude00\ud800")");
  CHECK(reader.string() == "a\"\\/\nA\u00e9\U0001F600\uFFFD");
}

TEST_CASE("what is not JSON is refused at once and for good") {
  for (const auto* text :
       {"{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{\"a\":1}}", "{\"a",
        "{\"a\\", "[", "", "{\"a\":,}", "{\"a\":[1,2}", "{\"\\x\":1}"}) {
    CAPTURE(text);
    CHECK_FALSE(readsObject(text));
  }
  for (const auto* text : {"", "{", "\"", "\"\\", "}", ",", ":"}) {
    CAPTURE(text);
    CHECK_FALSE(skips(text));
  }
}

TEST_CASE("brackets without end are not followed") {
  const std::string deep(100'000, '[');
  JsonReader arrays(deep);
  int depth = 0;
  const std::function<void()> descend = [&] {
    ++depth;
    arrays.array(descend);
  };
  descend();
  CHECK_FALSE(arrays.ok());
  CHECK(depth < 100);
}
