#include "memory/budget.h"

#include "doctest/doctest.h"

using namespace xfilter;

TEST_CASE("budget: it is spent when the time is up, and stays so") {
  Budget budget({}, std::chrono::nanoseconds(0));
  int steps = 0;
  while (budget.spend()) REQUIRE(++steps < 1000);
  CHECK(budget.exhausted());
  CHECK_FALSE(budget.aborted());
  CHECK_FALSE(budget.spend());
}

TEST_CASE("budget: a long step sees an abort at once, any step soon, and an abort is not taken for more") {
  std::stop_source stop;
  Budget budget(stop.get_token(), std::chrono::hours(1));
  CHECK(budget.spendLong());
  stop.request_stop();
  Budget other = budget;
  CHECK_FALSE(budget.spendLong());
  CHECK(budget.aborted());
  CHECK_FALSE(budget.exhausted());
  int steps = 0;
  while (other.spend()) REQUIRE(++steps < 1000);
  CHECK(other.aborted());
}
