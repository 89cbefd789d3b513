// On ranks as threads: where each chunk, page and answer is drawn at every border, the tokens are
// those that one rank gives each request alone.
#include <gtest/gtest.h>

#include "tests/runtime/engine/elastic_requests.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr test::ElasticSize kSize{.requests = 100, .longest_prompt = 1024};
#else
constexpr test::ElasticSize kSize{.requests = 60, .longest_prompt = 512};
#endif

TEST(ElasticTest, RequestsOnRanksThatChangeHaveTheTokensThatOneRankGivesThemAlone) {
  test::expect_elastic_is_exact(kSize, [](const std::function<void(Machine&)>& body) {
    test::run_machines(4, body, std::chrono::seconds(60));
  });
}

}  // namespace
}  // namespace longspan
