// Prompts that are there again when memory has long given their pages to others: they come back
// from host memory or from the disk, or are computed again, and no token is another.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "tests/runtime/engine/engine_fixture.h"
#include "tests/support/small_disk.h"

namespace longspan::test {
namespace {

/// Bytes of each rank.
struct Tier {
  std::int64_t host = 0;
  std::int64_t disk = 0;
};

constexpr std::int64_t kPlenty = std::int64_t{1} << 26;
/// Each alone, and ten pages of host memory in front of a disk.
constexpr auto kTiers = std::to_array<Tier>({{0, kPlenty}, {kPlenty, 0}, {20'000, kPlenty}});

std::string name(const Tier& tier) {
  return str("{} bytes on the host, {} on the disk", tier.host, tier.disk);
}

class KvDiskTest : public EngineFixture {
 protected:
  /// Memory for one request of 80 tokens, and a tier.
  JobOptions with(const Tier& tier, JobOptions options) const {
    options.kv_host_bytes = tier.host;
    if (tier.disk > 0) options.kv_disk = KvDisk{disk_.path(), tier.disk};
    return options;
  }
  JobOptions with_disk(const JobOptions& options) const { return with({0, kPlenty}, options); }

  /// One after the other.
  static std::vector<Heard> answers(Engine& engine, const std::vector<Tokens>& list) {
    std::vector<Heard> heard(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
      engine.submit(request_of(list[i], heard[i]));
      run_out(engine);
    }
    return heard;
  }

  /// Files of all ranks, which have no names: as this process has them open.
  void for_each_file(const std::function<void(int)>& change) const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.starts_with((disk_ / "longspan-kv-").string())) files.push_back(entry.path());
    }
    EXPECT_FALSE(files.empty());
    for (const auto& path : files) {
      const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      ASSERT_GE(file, 0);
      change(file);
      ::close(file);
    }
  }

  static void expect_tokens(const std::vector<Heard>& heard, const std::vector<Tokens>& oracle,
                            const std::string& what) {
    for (std::size_t i = 0; i < heard.size(); ++i) {
      EXPECT_EQ(heard[i].tokens, oracle[i]) << what << ", prompt " << i;
    }
  }

  TemporaryDirectory disk_;
};

std::vector<Tokens> long_prompts(int seed, int count) {
  std::mt19937 random(seed);
  std::vector<Tokens> list;
  for (int i = 0; i < count; ++i) list.push_back(random_tokens(random, 41 + random() % 30));
  return list;
}

// Five prompts, of which memory holds one, twice.
TEST_F(KvDiskTest, APromptThatWasEvictedIsFetchedAndNotComputed) {
  const auto list = long_prompts(3, 5);
  const auto oracle = alone(list);
  for (const Tier& tier : kTiers) {
    for (const auto& [degree, keep] : {std::pair{1, Retention::kSpread},
                                       {2, Retention::kFewest},
                                       {3, Retention::kSpread},
                                       {3, Retention::kFewest}}) {
      const std::string what =
          str("{} ranks, keep {}, {}", degree, static_cast<int>(keep), name(tier));
      open(with(tier, {.degree = degree, .page_tokens = 4, .keep = keep, .max_running = 1}),
           [&](Engine& engine) {
             expect_tokens(answers(engine, list), oracle, what);
             EXPECT_EQ(engine.stats().fetched_tokens, 0);
             const std::vector<Heard> again = answers(engine, list);
             expect_tokens(again, oracle, what);
             for (std::size_t i = 0; i < list.size(); ++i) {
               const std::int64_t tokens = std::ssize(list[i]);
               EXPECT_EQ(again[i].read, tokens - (tokens - 1) / 4 * 4) << what << ", prompt " << i;
             }
             const EngineStats stats = engine.stats();
             EXPECT_GT(stats.fetched_tokens, 4 * 40) << what;
             EXPECT_GT(stats.tier_pages, 40) << what;
             EXPECT_EQ(stats.tier_bytes % stats.tier_pages, 0) << what;
             EXPECT_EQ(stats.kv_in_use, 0);
           });
    }
  }
}

// What is rounded together is fetched whole: units of a chunk, of which memory has lost a part.
TEST_F(KvDiskTest, NarrowPagesComeBackAsTheyWere) {
  const auto list = long_prompts(7, 5);
  for (KvType type : {KvType::kBFloat16, KvType::kInt8}) {
    const JobOptions options{
        .page_tokens = 4, .chunk_tokens = 16, .kv_type = type, .max_running = 1};
    std::vector<Tokens> oracle;
    JobOptions shared_nothing = options;
    shared_nothing.prefix_cache = false;
    open(shared_nothing, [&](Engine& engine) {
      for (const Heard& heard : answers(engine, list)) oracle.push_back(heard.tokens);
    });
    for (const auto& [degree, tier] :
         {std::pair{1, kTiers[0]}, {2, kTiers[0]}, {2, kTiers[1]}, {1, kTiers[2]}}) {
      JobOptions split = with(tier, options);
      split.degree = degree;
      open(split, [&](Engine& engine) {
        const std::string what = str("{}, {} ranks, {}", longspan::name(type), degree, name(tier));
        expect_tokens(answers(engine, list), oracle, what);
        const std::vector<Heard> again = answers(engine, list);
        expect_tokens(again, oracle, what);
        for (std::size_t i = 0; i < list.size(); ++i) {
          const std::int64_t tokens = std::ssize(list[i]);
          EXPECT_EQ(again[i].read, tokens - (tokens - 1) / 16 * 16) << what << ", prompt " << i;
        }
      });
    }
  }
}

// Several at once, in any order, some ended on the way: those that fetch are beside those that
// compute.
TEST_F(KvDiskTest, ManyAtOnceGiveTheTokensOfEachAlone) {
  std::mt19937 random(5);
  std::vector<Tokens> list = long_prompts(11, 8);
  for (int i = 0; i < 4; ++i) {  // and some that begin as another
    Tokens prompt = list[i];
    prompt.resize(20 + random() % 20);
    const Tokens own = random_tokens(random, 1 + random() % 20);
    prompt.insert(prompt.end(), own.begin(), own.end());
    list.push_back(prompt);
  }
  const auto oracle = alone(list);
  struct Setting {
    JobOptions options;
    const char* what;
  };
  const std::vector<Setting> settings{
      {{.degree = 1, .page_tokens = 4, .chunk_tokens = 24, .max_running = 2}, "one rank"},
      {{.degree = 3, .page_tokens = 2, .chunk_tokens = 40, .max_running = 2}, "three ranks"},
      {{.degree = 1,
        .groups = 2,
        .policy = PolicyKind::kReplicas,
        .page_tokens = 4,
        .max_running = 4},
       "two replicas"},
      {{.degree = 3,
        .page_tokens = 4,
        .chunk_tokens = 24,
        .max_running = 2,
        .random_elastic = 9,
        .spare_pages = 2},
       "three ranks, elastic"}};
  for (const auto& [options, what] : settings) {
    // Of little room much is given away again.
    for (const Tier& tier : std::to_array<Tier>(
             {{0, kPlenty}, {0, 150'000}, {150'000, 0}, {30'000, 120'000}, {kPlenty, kPlenty}})) {
      open(with(tier, options), [&](Engine& engine) {
        std::map<RequestId, std::size_t> prompt_of;
        std::vector<Heard> heard(60);
        for (std::size_t i = 0; i < heard.size(); ++i) {
          const std::size_t prompt = random() % list.size();
          const RequestId id = engine.submit(request_of(list[prompt], heard[i]));
          prompt_of[static_cast<RequestId>(i)] = prompt;
          for (std::size_t steps = random() % 6; steps > 0; --steps) engine.step();
          while (engine.stats().waiting > 10) engine.step();  // a step may be to wait for the tier
          if (random() % 8 == 0 && heard[i].finished.empty()) engine.abort(id);
        }
        run_out(engine);
        int whole = 0;
        for (std::size_t i = 0; i < heard.size(); ++i) {
          const Tokens& all = oracle[prompt_of[static_cast<RequestId>(i)]];
          const Tokens& got = heard[i].tokens;
          EXPECT_TRUE(std::ranges::equal(got, std::span(all).first(got.size()))) << what << i;
          ASSERT_EQ(heard[i].finished.size(), 1u);
          const bool aborted = heard[i].finished[0].ending == Ending::kAborted;
          EXPECT_TRUE(aborted || got == all) << what << i;
          whole += got == all;
        }
        EXPECT_GT(whole, 40) << what;
        EXPECT_GT(engine.stats().fetched_tokens, 0) << what;
        EXPECT_EQ(engine.stats().kv_in_use, 0) << what;
      });
    }
  }
}

TEST_F(KvDiskTest, WhatIsDamagedOrCutIsComputedAgain) {
  const auto list = long_prompts(4, 5);
  const auto oracle = alone(list);
  const auto flip_all = [](int file) {
    for (off_t at = 100; at < ::lseek(file, 0, SEEK_END); at += 1000) {
      char byte = 0;
      EXPECT_EQ(::pread(file, &byte, 1, at), 1);
      byte = static_cast<char>(~byte);
      EXPECT_EQ(::pwrite(file, &byte, 1, at), 1);
    }
  };
  const auto flip_one = [](int file) {
    const char bits = 0x55;
    EXPECT_EQ(::pwrite(file, &bits, 1, ::lseek(file, 0, SEEK_END) / 2), 1);
  };
  const auto cut = [](int file) {
    EXPECT_EQ(::ftruncate(file, ::lseek(file, 0, SEEK_END) / 2 + 7), 0);
  };
  for (int degree : {1, 3}) {
    // What was in memory while the file was damaged is written behind that: one prompt.
    for (const auto& [damage, what, least, most] :
         {std::tuple<std::function<void(int)>, const char*, int, int>{flip_all, "all", 0, 80},
          {flip_one, "one", 81, 400},
          {cut, "cut", 0, 300}}) {
      open(with_disk({.degree = degree, .page_tokens = 4, .max_running = 1}), [&](Engine& engine) {
        expect_tokens(answers(engine, list), oracle, what);
        for_each_file(damage);
        expect_tokens(answers(engine, list), oracle, what);
        const std::int64_t fetched = engine.stats().fetched_tokens;
        EXPECT_GE(fetched, least) << what;
        EXPECT_LE(fetched, most) << what;
        // What was computed again is kept again.
        const std::vector<Heard> again = answers(engine, list);
        expect_tokens(again, oracle, what);
        EXPECT_LE(again[1].read, 4) << what;
        EXPECT_GT(engine.stats().fetched_tokens, fetched) << what;
      });
    }
  }
}

TEST_F(KvDiskTest, AFullDiskCostsHitsAndNothingElse) {
  const auto list = long_prompts(6, 4);
  const auto oracle = alone(list);
  for (const auto& [degree, host] : {std::pair{1, 0}, {2, 0}, {2, 10'000}}) {
    const JobOptions options{.degree = degree, .page_tokens = 4, .max_running = 1};
    open(with({host, kPlenty}, options), [&](Engine& engine) {
      const SmallDisk full(20'000);
      const std::int64_t most = (20'000 + host) * degree;
      for (int round = 0; round < 3; ++round) {
        expect_tokens(answers(engine, list), oracle, "full");
      }
      // What the disk refuses is known a step later: one that evicts nothing more.
      const std::vector<Tokens> last{list.back()};
      for (int more = 0; engine.stats().tier_bytes > most && more < 1000; ++more) {
        expect_tokens(answers(engine, last), {oracle.back()}, "again");
      }
      EXPECT_LE(engine.stats().tier_bytes, most);
    });
  }
}

TEST_F(KvDiskTest, AnInstanceOfSeveralRanksHasAPageWhenAllHaveTheirPart) {
  const auto list = long_prompts(9, 4);
  const auto oracle = alone(list);
  const JobOptions options = with_disk({.degree = 2, .page_tokens = 4, .max_running = 1});
  const EngineSetup setup{.shapes = {RequestShape{.room = 80}}};
  run_machines(4, [&](Machine& machine) {
    LoadedModel model =
        load_model(machine, open_model(machine, (folder_ / "model.gguf").string()), {.tp = 2});
    Engine::open(machine, model, options, machine.rank() == 0 ? &setup : nullptr,
                 [&](Engine& engine) {
                   expect_tokens(answers(engine, list), oracle, "first");
                   int files = 0;
                   for_each_file([&](int file) {  // one of an instance's two
                     EXPECT_EQ(::ftruncate(file, files++ == 0 ? 0 : ::lseek(file, 0, SEEK_END)), 0);
                   });
                   EXPECT_EQ(files, 4);
                   expect_tokens(answers(engine, list), oracle, "again");
                   const auto last = answers(engine, list);
                   expect_tokens(last, oracle, "a third time");
                   for (const Heard& heard : last) EXPECT_LE(heard.read, 4);
                 });
  });
}

TEST_F(KvDiskTest, NoRoomForAPageNoFolderAndTooMuchAreRefused) {
  const auto refusal = [&](std::int64_t host, const std::optional<KvDisk>& disk) {
    std::string message;
    run_machines(2, [&](Machine& machine) {
      LoadedModel model =
          load_model(machine, open_model(machine, (folder_ / "model.gguf").string()), {});
      JobOptions options{.degree = 2};
      options.kv_host_bytes = host;
      options.kv_disk = disk;
      const EngineSetup setup{.shapes = {RequestShape{.room = 80}}};
      try {
        Engine::open(machine, model, options, machine.rank() == 0 ? &setup : nullptr,
                     [](Engine&) { ADD_FAILURE() << "it opened"; });
      } catch (const Error& error) {
        EXPECT_TRUE(error.everywhere());
        if (machine.rank() == 0) message = error.what();
      }
    });
    return message;
  };
  const KvDisk small{disk_.path(), 10}, missing{disk_ / "missing", kPlenty};
  EXPECT_THAT(refusal(0, small), testing::HasSubstr("--kv-disk-bytes 10 is no room for one page"));
  EXPECT_THAT(refusal(0, missing), testing::HasSubstr("No such file"));
  EXPECT_THAT(refusal(10, std::nullopt), testing::HasSubstr("--kv-host-bytes 10 is no room for"));
  EXPECT_THAT(refusal(std::int64_t{1} << 40, std::nullopt),
              testing::HasSubstr("evicted pages take 1.00 TiB of host memory on each rank"));
}

}  // namespace
}  // namespace longspan::test
