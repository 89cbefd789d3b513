// On ranks as threads: where each chunk, page and answer is drawn at every border, the tokens are
// those that one rank gives each request alone.
#include <gtest/gtest.h>
#include <unistd.h>

#include "comm/str.h"
#include "tests/runtime/engine/elastic_requests.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

TEST(ElasticTest, RequestsOnRanksThatChangeHaveTheTokensThatOneRankGivesThemAlone) {
  const auto model =
      std::filesystem::temp_directory_path() / str("longspan-elastic-{}.gguf", ::getpid());
  test::expect_elastic_is_exact({.requests = 100, .longest_prompt = 1024}, model,
                                [](const std::function<void(Machine&)>& body) {
                                  test::run_machines(4, body, std::chrono::seconds(60));
                                });
}

}  // namespace
}  // namespace longspan
