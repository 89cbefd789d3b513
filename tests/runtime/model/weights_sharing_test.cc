// Under mpirun: how much memory the weights of one host really take.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "comm/collective.h"
#include "runtime/model/weights.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/mpi_machine.h"

namespace longspan {
namespace {

/// This process's part of the shared weights: pages divided by how many processes map them.
std::uint64_t proportional_bytes() {
  std::ifstream maps("/proc/self/smaps");
  std::uint64_t kilobytes = 0;
  bool weights = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (!key.ends_with(':')) weights = line.find("memfd:longspan weights") != line.npos;
    std::uint64_t value = 0;
    if (weights && key == "Pss:" && words >> value) kilobytes += value;
  }
  return kilobytes * 1024;
}

/// The sum of every rank's `value`, known to all once all have come here.
std::uint64_t sum_over_ranks(Communicator& control, std::uint64_t value) {
  std::vector<std::byte> bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  std::uint64_t sum = 0;
  for (const auto& part : gather(control, std::vector(bytes), 0)) {
    std::uint64_t other = 0;
    std::memcpy(&other, part.data(), sizeof(other));
    sum += other;
  }
  std::memcpy(bytes.data(), &sum, sizeof(sum));
  broadcast(control, bytes, 0);
  std::memcpy(&sum, bytes.data(), sizeof(sum));
  return sum;
}

TEST(WeightsSharingTest, AllRanksTogetherHoldTheWeightsOnce) {
  Machine& machine = test::machine();
  const test::TemporaryDirectory directory;
  const auto path = directory / "model.gguf";
  test::TinyLlama{.layers = 4, .hidden = 256, .ffn = 1024, .vocabulary = 2048}.write(path);
  const GgufFile file(path);
  const auto ops = new_cpu_model_ops();
  const ModelWeights weights =
      ModelWeights::load(file, read_model_config(file), *ops,
                         {machine.control(), machine.host_ranks()}, {.threads = 1});
  EXPECT_EQ(weights.report().shared, machine.size() > 1);
  if (machine.size() == 1) return;

  sum_over_ranks(machine.control(), 0);  // until all have mapped them
  const std::uint64_t mine = proportional_bytes();
  const std::uint64_t all = sum_over_ranks(machine.control(), mine);
  EXPECT_LT(all, weights.bytes() * 1.3);
  EXPECT_GT(all, weights.bytes() * 0.9);  // else it measured something else
}

}  // namespace
}  // namespace longspan
