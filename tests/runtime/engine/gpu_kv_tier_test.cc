// Prompts whose pages left a GPU's memory, a rank under mpirun for each GPU: they come back from
// pinned host memory and from the disk, and no token is another.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

#include "comm/str.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/engine/engine_fixture.h"
#include "tests/support/mpi_machine.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 2, .backend = Backend::kCuda, .hang_timeout = std::chrono::seconds(60)};
}

namespace {

class GpuKvTierTest : public EngineFixture {
 protected:
  static constexpr std::int64_t kPlenty = std::int64_t{1} << 28;

  /// Each prompt `rounds` times, one after the other; what rank 0 heard, nothing on others.
  std::vector<Heard> answers(const JobOptions& options, const std::vector<Tokens>& list,
                             int rounds) const {
    LoadModelOptions loading;
    if (options.kv_type == KvType::kBFloat16) loading.precision = Precision::kBFloat16;
    LoadedModel model =
        load_model(machine(), open_model(machine(), (folder_ / "model.gguf").string()), loading);
    const EngineSetup setup{.shapes = {RequestShape{.room = 200}}};
    std::vector<Heard> heard(rounds * list.size());
    Engine::open(machine(), model, options, machine().rank() == 0 ? &setup : nullptr,
                 [&](Engine& engine) {
                   for (std::size_t i = 0; i < heard.size(); ++i) {
                     engine.submit(request_of(list[i % list.size()], heard[i]));
                     run_out(engine);
                   }
                 });
    return heard;
  }

  TemporaryDirectory disk_;
};

// Memory holds one of them.
TEST_F(GpuKvTierTest, APromptThatWasEvictedIsFetchedAndNotComputed) {
  std::mt19937 random(3);
  std::vector<Tokens> list;
  for (int i = 0; i < 5; ++i) list.push_back(random_tokens(random, 97 + random() % 60));
  struct Tier {
    std::int64_t host = 0;
    std::int64_t disk = 0;
  };
  const auto tiers = std::to_array<Tier>({{kPlenty, 0}, {0, kPlenty}, {100'000, kPlenty}});
  for (const KvType type : {KvType::kFloat32, KvType::kBFloat16}) {
    JobOptions options{.degree = machine().size(),
                       .page_tokens = 16,
                       .chunk_tokens = 32,
                       .kv_type = type,
                       .max_running = 1,
                       .prefix_cache = false};
    const std::vector<Heard> oracle = answers(options, list, 1);
    options.prefix_cache = true;
    for (const Tier& tier : tiers) {
      const std::string what =
          str("{}, {} bytes on the host, {} on the disk", name(type), tier.host, tier.disk);
      options.kv_host_bytes = tier.host;
      options.kv_disk.reset();
      if (tier.disk > 0) options.kv_disk = KvDisk{disk_.path(), tier.disk};
      const std::vector<Heard> heard = answers(options, list, 2);
      if (machine().rank() != 0) continue;
      const std::int64_t unit = type == KvType::kFloat32 ? 16 : 32;
      for (std::size_t i = 0; i < heard.size(); ++i) {
        const std::size_t prompt = i % list.size();
        const std::int64_t tokens = std::ssize(list[prompt]);
        EXPECT_EQ(heard[i].tokens, oracle[prompt].tokens) << what << ", prompt " << i;
        const bool again = i >= list.size();
        EXPECT_EQ(heard[i].read, again ? tokens - (tokens - 1) / unit * unit : tokens)
            << what << ", prompt " << i;
      }
    }
  }
}

}  // namespace
}  // namespace longspan::test
