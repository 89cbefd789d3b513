#include "comm/mpi/back_off.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

using namespace std::chrono_literals;

TEST(BackOffTest, AYoungWaitYieldsAndAnOldOneSleepsASixteenth) {
  EXPECT_EQ(nap_after(0us, 200us), 0us);
  EXPECT_EQ(nap_after(1999us, 20ms), 0us);
  EXPECT_EQ(nap_after(2ms, 20ms), 125us);
  EXPECT_EQ(nap_after(160ms, 20ms), 10ms);
}

TEST(BackOffTest, NoNapIsLongerThanThePatienceAllows) {
  EXPECT_EQ(nap_after(1h, 200us), 200us);
  EXPECT_EQ(nap_after(1h, 20ms), 20ms);
}

// What makes an idle rank cheap: looks grow with the logarithm of the wait, then 50 a second.
TEST(BackOffTest, TenSecondsOfIdlenessAreLessThanSevenHundredNaps) {
  std::chrono::nanoseconds waited = 2ms;
  int naps = 0;
  for (; waited < 10s; ++naps) waited += nap_after(waited, 20ms);
  EXPECT_LT(naps, 700);
}

}  // namespace
}  // namespace longspan
