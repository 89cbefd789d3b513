// The same as elastic_test on processes, where what a rank was not told it cannot know.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "comm/collective.h"
#include "comm/str.h"
#include "tests/runtime/engine/elastic_requests.h"
#include "tests/support/mpi_machine.h"

namespace longspan {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr test::ElasticSize kSize{.requests = 200, .longest_prompt = 2048, .seed = 2};
#else
constexpr test::ElasticSize kSize{.requests = 100, .longest_prompt = 1024, .seed = 2};
#endif

/// Of the first rank, so that all have the same.
pid_t first_pid() {
  pid_t pid = ::getpid();
  std::vector<std::byte> bytes(sizeof(pid));
  std::memcpy(bytes.data(), &pid, sizeof(pid));
  broadcast(test::machine().control(), bytes, 0);
  std::memcpy(&pid, bytes.data(), sizeof(pid));
  return pid;
}

TEST(ElasticProcessesTest, RequestsOnRanksThatChangeHaveTheTokensThatOneRankGivesThemAlone) {
  const auto model =
      std::filesystem::temp_directory_path() / str("longspan-elastic-{}.gguf", first_pid());
  test::expect_elastic_is_exact(
      kSize, model, [](const std::function<void(Machine&)>& body) { body(test::machine()); });
}

}  // namespace
}  // namespace longspan
