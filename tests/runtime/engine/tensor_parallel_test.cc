// Jobs whose instances have several ranks, as threads: whatever the number of ranks in an instance
// and of instances in the job, the tokens are those of one rank.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "attention/usable_strategies.h"
#include "comm/str.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"
#include "runtime/model/model_part.h"
#include "tests/runtime/engine/job_outcome.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/counting_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using test::expect_same;
using test::Outcome;

/// How the ranks are used: `instances` of `tp` ranks each.
struct Shape {
  int tp = 1;
  int instances = 1;

  int ranks() const { return tp * instances; }
};

/// Adds up what is allocated.
class CountingDevice final : public Device {
 public:
  explicit CountingDevice(Device& inner) : inner_(inner) {}

  std::int64_t allocated() const { return allocated_; }

  Buffer allocate(std::size_t bytes) override {
    allocated_ += static_cast<std::int64_t>(bytes);
    return inner_.allocate(bytes);
  }
  std::unique_ptr<Stream> new_stream() override { return inner_.new_stream(); }
  void copy(Stream& stream, Bytes dst, ConstBytes src) override { inner_.copy(stream, dst, src); }
  void copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride, const std::byte* src,
                 std::size_t src_stride, std::size_t width, std::size_t rows) override {
    inner_.copy_rows(stream, dst, dst_stride, src, src_stride, width, rows);
  }
  std::string description() const override { return inner_.description(); }

 private:
  Device& inner_;
  std::int64_t allocated_ = 0;
};

/// A machine that counts what goes to whom, and what is allocated.
class CountingMachine final : public Machine {
 public:
  explicit CountingMachine(Machine& inner)
      : inner_(inner), device_(inner.device()), data_(inner.data()) {}

  CountingDevice& device() override { return device_; }
  test::CountingCommunicator& data() override { return data_; }
  Communicator& control() override { return inner_.control(); }
  const std::vector<int>& host_ranks() const override { return inner_.host_ranks(); }
  const std::string& host() const override { return inner_.host(); }
  int threads() const override { return inner_.threads(); }

 private:
  Machine& inner_;
  CountingDevice device_;
  test::CountingCommunicator data_;
};

class TensorParallelTest : public testing::Test {
 protected:
  using OnMachine = std::function<void(CountingMachine&)>;

  /// From now on jobs run this model, of few weights; widths that two or three do not divide.
  void use_heads(int query_heads, int kv_heads) {
    path_ = folder_ / str("{}-{}.gguf", query_heads, kv_heads);
    if (std::filesystem::exists(path_)) return;
    test::TinyLlama{.heads = query_heads,
                    .kv_heads = kv_heads,
                    .ffn = 97,
                    .vocabulary = 289,
                    .tied_output = query_heads == 8,
                    .seed = 5}
        .write(path_);
  }
  ModelConfig model() const { return read_model_config(GgufFile(path_)); }

  static std::vector<JobRequest> requests(const std::vector<std::int64_t>& lengths,
                                          std::int64_t max_new = 12) {
    return test::job_requests(lengths, max_new);
  }

  /// Runs a job on as many ranks as the shape has; the degree is its number of instances unless
  /// `options` say less. `before` and `after` see each rank's machine.
  Outcome run(const Shape& shape, JobOptions options, const std::vector<JobRequest>& list,
              const std::function<void(Coordinator&)>& between_steps = nullptr,
              const OnMachine& before = nullptr, const OnMachine& after = nullptr,
              const LayerMasks& masks = LayerMasks(Mask::causal())) {
    if (options.degree == 0) options.degree = shape.instances;
    Outcome outcome;
    test::run_machines(shape.ranks(), [&](Machine& inner) {
      CountingMachine machine(inner);
      if (before) before(machine);
      LoadedModel model =
          load_model(machine, open_model(machine, path_.string()), {.tp = shape.tp});
      model.config.masks = masks;
      JobInput input{
          .requests = list, .listener = test::listener(outcome), .between_steps = between_steps};
      auto ranks = run_job(machine, model, options, machine.rank() == 0 ? &input : nullptr);
      if (machine.rank() == 0) outcome.ranks = std::move(ranks);
      if (after) after(machine);
    });
    return outcome;
  }

  test::TemporaryDirectory folder_;
  std::filesystem::path path_;
};

constexpr int kAll = 0;  // degree: all instances
constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kFolded, DealtBy::kStriped,
                              DealtBy::kZigzag, DealtBy::kContiguous};

TEST_F(TensorParallelTest, EveryShapeGivesTheTokensOfOneRank) {
  const auto list = requests({1, 2, 7, 33, 100});
  std::mt19937 random(1);
  int runs = 0;
  for (const auto& [query_heads, kv_heads] : {std::pair{8, 2}, {4, 4}, {9, 3}, {6, 1}}) {
    use_heads(query_heads, kv_heads);
    const Outcome oracle = run({}, {}, list);
    for (int tp : usable_part_counts(model())) {
      for (int instances : {1, 2, 3}) {
        if (tp == 1 || tp * instances > 9) continue;
        const JobOptions options{.degree = kAll,
                                 .page_tokens = std::int64_t{1} << random() % 6,
                                 .layout = kLayouts[random() % kLayouts.size()],
                                 .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 120),
                                 .keep = random() % 2 ? Retention::kSpread : Retention::kFewest,
                                 .max_running = 1 + static_cast<int>(random() % 5)};
        expect_same(run({tp, instances}, options, list), oracle,
                    str("{}/{} heads, {} instances of {}, layout {}, pages of {}, chunks of {}",
                        query_heads, kv_heads, instances, tp, static_cast<int>(options.layout),
                        options.page_tokens, *options.chunk_tokens));
        ++runs;
      }
    }
  }
  EXPECT_GT(runs, 20);
}

TEST_F(TensorParallelTest, EveryPrefillStrategyWorksOnTheHeadsOfAPart) {
  const auto list = requests({1, 7, 33, 100}, 6);
  std::mt19937 random(2);
  int runs = 0;
  for (const auto& [query_heads, kv_heads] : {std::pair{8, 2}, {6, 1}}) {
    use_heads(query_heads, kv_heads);
    const Outcome oracle = run({}, {}, list);
    for (const Shape& shape : {Shape{2, 2}, Shape{2, 3}, Shape{2, 4}}) {
      for (Strategy strategy : kStrategies) {
        const SplitSetting setting{.heads = part_of(model(), {.index = 0, .ranks = shape.tp}).heads,
                                   .hosts = std::vector<int>(shape.instances, 0)};
        for (const PlannedStrategy& plan : usable_plans(strategy, setting)) {
          const JobOptions options{.degree = kAll,
                                   .page_tokens = std::int64_t{1} << random() % 5,
                                   .layout = kLayouts[random() % 2],
                                   .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 120),
                                   .plans = {plan}};
          expect_same(run(shape, options, list), oracle,
                      str("{}/{} heads, {} by {} instances of {}", query_heads, kv_heads,
                          describe(plan, shape.instances), shape.instances, shape.tp));
          ++runs;
        }
      }
    }
  }
  EXPECT_GT(runs, 30);
}

// Each part chooses keys for its own KV heads, and deals rows anew by what it chose.
TEST_F(TensorParallelTest, ApproximateAttentionGivesTheTokensOfOneRank) {
  using enum AttentionKind;
  use_heads(8, 2);
  const auto list = requests({7, 33, 100}, 6);
  const Outcome exact = run({}, {}, list);
  for (const Approximation& attention :
       {Approximation{.kind = kSinks, .sink_tokens = 17, .window_tokens = 16},
        Approximation{.kind = kStar, .block_tokens = 16},
        Approximation{.kind = kApb,
                      .block_tokens = 16,
                      .anchor_tokens = 4,
                      .passing_tokens = 4,
                      .observed_tokens = 5},
        Approximation{.kind = kBlockSparse, .block_tokens = 8, .block_mass = 0.6}}) {
    const Outcome oracle = run({}, {.attention = attention}, list);
    EXPECT_NE(oracle.nll, exact.nll) << name(attention.kind);
    for (const Shape& shape : {Shape{2, 1}, Shape{2, 2}, Shape{2, 3}}) {
      const JobOptions options{
          .degree = kAll, .layout = DealtBy::kContiguous, .attention = attention};
      expect_same(run(shape, options, list), oracle,
                  str("{} by {} instances of {}", name(attention.kind), shape.instances, shape.tp));
    }
  }
}

// On a link so slow that strategies change from chunk to chunk.
TEST_F(TensorParallelTest, AChoiceForEachChunkGivesTheTokensOfOneRank) {
  use_heads(8, 2);
  const auto list = requests({1, 7, 100, 200}, 6);
  const Outcome oracle = run({}, {}, list);
  const SplitSetting setting{.heads = part_of(model(), {.index = 0, .ranks = 2}).heads,
                             .hosts = std::vector<int>(4, 0)};
  JobOptions options{.degree = kAll, .chunk_tokens = 128, .plans = {}};
  for (const UsableStrategy& usable : usable_strategies(setting)) {
    if (!usable.refusal) options.plans.push_back(usable.plan);
  }
  EXPECT_GT(options.plans.size(), 1u);
  options.rates.inside_host = {1e-5, 1e5};
  expect_same(run({2, 4}, options, list), oracle, "strategies chosen");
}

TEST_F(TensorParallelTest, ShippedMirroredAndTreeDecodeGiveTheTokensOfOneRank) {
  use_heads(9, 3);
  const auto list = requests({1, 2, 7, 33, 100});
  const Outcome oracle = run({}, {}, list);
  for (const Shape& shape : {Shape{3, 1}, Shape{3, 2}, Shape{3, 3}}) {
    for (DecodeStrategy strategy :
         {DecodeStrategy::kShipped, DecodeStrategy::kMirrored, DecodeStrategy::kTree}) {
      for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
        const JobOptions options{.degree = kAll,
                                 .page_tokens = 4,
                                 .chunk_tokens = 24,
                                 .keep = keep,
                                 .decode_strategy = strategy,
                                 .max_running = 3};
        expect_same(run(shape, options, list), oracle,
                    str("{} over {} instances of {}", name(strategy), shape.instances, shape.tp));
      }
    }
  }
}

TEST_F(TensorParallelTest, NarrowPagesGiveTheTokensOfOneRankWithTheSameChunks) {
  use_heads(8, 2);
  const auto list = requests({1, 33, 100}, 8);
  for (KvType type : {KvType::kFloat16, KvType::kBFloat16}) {
    const Outcome oracle = run({}, {.chunk_tokens = 32, .kv_type = type}, list);
    for (const Shape& shape : {Shape{2, 2}, Shape{4, 1}}) {
      const JobOptions options{.degree = kAll, .chunk_tokens = 32, .kv_type = type};
      const Outcome outcome = run(shape, options, list);
      // A key on the border between two narrow values may round the other way.
      for (const auto& [id, nll] : oracle.nll) EXPECT_NEAR(outcome.nll.at(id), nll, 0.02);
      EXPECT_EQ(outcome.tokens.at(0), oracle.tokens.at(0)) << name(type);
    }
  }
}

TEST_F(TensorParallelTest, WindowsGiveTheTokensOfOneRank) {
  use_heads(8, 2);
  const auto list = requests({1, 33, 100}, 8);
  const LayerMasks masks({Mask::window(11), Mask::causal()});
  const Outcome oracle = run({}, {}, list, nullptr, nullptr, nullptr, masks);
  for (const Shape& shape : {Shape{2, 3}, Shape{4, 1}}) {
    const JobOptions options{.degree = kAll, .page_tokens = 4, .chunk_tokens = 24};
    expect_same(run(shape, options, list, nullptr, nullptr, nullptr, masks), oracle,
                str("{} instances of {}", shape.instances, shape.tp));
  }
}

TEST_F(TensorParallelTest, MovedPagesChangeNoToken) {
  use_heads(4, 4);
  const auto list = requests({1, 7, 33, 100});
  const Outcome oracle = run({}, {}, list);
  std::mt19937 random(3);
  int moved = 0;
  const auto wander = [&](Coordinator& coordinator) {
    for (int i = 0; i < 20; ++i) {
      const auto request = static_cast<RequestId>(random() % 4);
      const auto page = static_cast<std::int64_t>(random() % 16);
      moved += coordinator.move_page(request, page, static_cast<int>(random() % 3));
    }
  };
  const JobOptions options{.degree = kAll, .page_tokens = 8, .chunk_tokens = 24, .spare_pages = 4};
  expect_same(run({2, 3}, options, list, wander), oracle, "pages move between instances");
  EXPECT_GT(moved, 20);
}

TEST_F(TensorParallelTest, InstancesBeyondTheDegreeIdle) {
  use_heads(4, 4);
  const auto list = requests({40});
  const Outcome outcome = run({2, 3}, {.degree = 2}, list);
  expect_same(outcome, run({}, {}, list), "2 of 3 instances");
  for (int rank : {0, 1, 2, 3}) EXPECT_GT(outcome.ranks.at(rank).kv_pages_used, 0);
  for (int rank : {4, 5}) {
    EXPECT_EQ(outcome.ranks.at(rank).kv_pages_total, 0);
    EXPECT_EQ(outcome.ranks.at(rank).sent_bytes, 0u);
  }
}

/// One request: prefill in chunks, then a token a step.
TEST_F(TensorParallelTest, OneInstanceSendsExactlyWhatTheFormulaSays) {
  constexpr std::int64_t kPrompt = 300, kChunk = 128, kNew = 5;
  std::vector<JobRequest> list = requests({kPrompt}, kNew);
  list.front().wants_nll = false;
  for (const auto& [query_heads, kv_heads, tp] :
       {std::tuple{9, 3, 1}, {9, 3, 3}, {8, 2, 2}, {8, 2, 4}, {6, 1, 6}}) {
    use_heads(query_heads, kv_heads);
    const ModelConfig whole = model();
    const JobOptions options{.degree = kAll, .chunk_tokens = kChunk};
    run({tp, 1}, options, list, nullptr, nullptr, [&, ranks = tp](CountingMachine& machine) {
      const ModelConfig config = part_of(whole, {machine.rank(), ranks});
      Sent expected;
      const auto add = [&](const Sent& sent, int times) {
        expected.bytes += times * sent.bytes;
        expected.messages += times * sent.messages;
      };
      for (std::int64_t rows : {std::int64_t{128}, std::int64_t{128}, std::int64_t{44}}) {
        add(PartProducts::layer_sent(config, rows), config.layers);
      }
      add(PartProducts::layer_sent(config, 1), (kNew - 1) * config.layers);
      add(PartProducts::logits_sent(config, 1), kNew);
      EXPECT_EQ(machine.data().traffic().sent_bytes, static_cast<std::uint64_t>(expected.bytes));
      EXPECT_EQ(machine.data().traffic().sent_messages,
                static_cast<std::uint64_t>(expected.messages));
    });
  }
}

/// A rank speaks with its instance and with the ranks of its part, and what the latter hear is a
/// part of what one rank an instance would say.
TEST_F(TensorParallelTest, RanksTalkToTheirInstanceAndToTheirPart) {
  use_heads(8, 2);
  const auto list = requests({100});
  std::atomic<std::uint64_t> whole = 0, parts = 0;
  const auto add_others = [](std::atomic<std::uint64_t>& sum, int tp) {
    return [&sum, tp](CountingMachine& machine) {
      for (int peer = 0; peer < machine.size(); ++peer) {
        if (peer / tp != machine.rank() / tp) sum += machine.data().with(peer).sent_bytes;
      }
    };
  };
  const auto forbid_strangers = [](CountingMachine& machine) {
    for (int peer = 0; peer < machine.size(); ++peer) {
      const bool instance = peer / 2 == machine.rank() / 2, part = peer % 2 == machine.rank() % 2;
      if (!instance && !part) machine.data().forbid(peer);
    }
  };
  const JobOptions options{.degree = kAll, .chunk_tokens = 64};
  run({1, 3}, options, list, nullptr, nullptr, add_others(whole, 1));
  run({2, 3}, options, list, nullptr, forbid_strangers, add_others(parts, 2));
  EXPECT_GT(whole, 0u);
  EXPECT_EQ(parts, whole);  // two parts of half the heads each: nothing is said twice
}

TEST_F(TensorParallelTest, EachRankAllocatesWhatWasPlannedAndLessThanOneAlone) {
  use_heads(8, 2);
  const auto list = requests({300, 20});
  std::int64_t alone = 0;
  for (const Shape& shape : {Shape{1, 1}, Shape{2, 1}, Shape{2, 2}, Shape{4, 1}}) {
    std::vector<std::int64_t> allocated(shape.ranks());
    const Outcome outcome =
        run(shape, {.degree = kAll}, list, nullptr, nullptr, [&](CountingMachine& machine) {
          allocated[machine.rank()] = machine.device().allocated();
        });
    if (shape.ranks() == 1) alone = allocated[0];
    for (int rank = 0; rank < shape.ranks(); ++rank) {
      EXPECT_EQ(outcome.ranks.at(rank).planned_bytes, allocated[rank]) << rank;
      EXPECT_LE(allocated[rank], allocated[0]) << "the first rank plans for all";
      EXPECT_TRUE(shape.ranks() == 1 || allocated[rank] < alone) << rank;
    }
  }
}

/// What is left of a host's memory is what all its parts leave.
TEST_F(TensorParallelTest, AHostHoldsThePartsThatItsRanksHave) {
  use_heads(4, 4);
  std::vector<std::int64_t> own(4), of_host(4);
  test::run_machines(4, [&](Machine& machine) {
    const LoadedModel model = load_model(machine, open_model(machine, path_.string()), {.tp = 2});
    own[machine.rank()] = static_cast<std::int64_t>(model.weights.bytes());
    of_host[machine.rank()] = model.host_weight_bytes;
  });
  EXPECT_EQ(own[0], own[2]);
  EXPECT_EQ(own[1], own[3]);
  for (std::int64_t bytes : of_host) EXPECT_EQ(bytes, own[0] + own[1]);

  test::run_machines(4, [&](Machine& machine) {
    try {
      load_model(machine, open_model(machine, path_.string()),
                 {.memory_limit = of_host[0] - 1, .tp = 2});
      ADD_FAILURE() << "weights of both parts do not fit";
    } catch (const OutOfMemory& error) {
      EXPECT_TRUE(error.everywhere());
    }
  });
}

TEST_F(TensorParallelTest, WhatDoesNotFitIsRefusedOnEveryRank) {
  use_heads(4, 4);
  test::run_machines(4, [&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, path_.string()), {.tp = 2});
    const JobOptions options{.degree = 2, .memory_limit = 1 << 20};
    JobInput input{.requests = requests({200})};
    try {
      run_job(machine, model, options, machine.rank() == 0 ? &input : nullptr);
      ADD_FAILURE() << "nobody threw";
    } catch (const OutOfMemory& error) {
      EXPECT_NE(std::string(error.what()).find("over 4 ranks"), std::string::npos) << error.what();
      EXPECT_TRUE(error.everywhere());
    }
  });
}

}  // namespace
}  // namespace longspan
