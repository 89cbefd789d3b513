// The same as elastic_test on processes, where what a rank was not told it cannot know.
#include <gtest/gtest.h>

#include "tests/runtime/engine/elastic_requests.h"
#include "tests/support/mpi_machine.h"

namespace longspan {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr test::ElasticSize kSize{.requests = 200, .longest_prompt = 2048, .seed = 2};
#else
constexpr test::ElasticSize kSize{.requests = 60, .longest_prompt = 512, .seed = 2};
#endif

TEST(ElasticProcessesTest, RequestsOnRanksThatChangeHaveTheTokensThatOneRankGivesThemAlone) {
  test::expect_elastic_is_exact(
      kSize, [](const std::function<void(Machine&)>& body) { body(test::machine()); });
}

}  // namespace
}  // namespace longspan
