// Models of each family on GPUs, a rank under mpirun for each, give the log-probabilities that
// transformers gives: on one GPU, and split over several in each way that they may be.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "comm/agreement.h"
#include "comm/cuda/cuda_device.h"
#include "comm/str.h"
#include "runtime/engine/load_model.h"
#include "runtime/model/model_part.h"
#include "tests/runtime/engine/run_job.h"
#include "tests/runtime/model/family_model.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/support/mpi_machine.h"

namespace longspan {
namespace test {

MachineOptions machine_options() {
  return {.threads = 2, .backend = Backend::kCuda, .hang_timeout = std::chrono::seconds(60)};
}

}  // namespace test

namespace {

/// The machine, but that its GPU replays steps as graphs.
class WithGraphs final : public Machine {
 public:
  explicit WithGraphs(Machine& inner) : inner_(inner), gpu_(0, true) {}

  Device& device() override { return gpu_; }
  Communicator& data() override { return inner_.data(); }
  Communicator& control() override { return inner_.control(); }
  const std::vector<int>& host_ranks() const override { return inner_.host_ranks(); }
  const std::string& host() const override { return inner_.host(); }
  int threads() const override { return inner_.threads(); }
  Backend backend() const override { return inner_.backend(); }
  std::optional<std::int64_t> device_memory_left() override { return inner_.device_memory_left(); }

 private:
  Machine& inner_;
  CudaDevice gpu_;
};

class GpuFamiliesTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { model_.write(directory_.path()); }

  JobInput input() {
    JobRequest request{.wants_nll = true};
    request.admission.prompt = model_.json().at("prompt").get<std::vector<TokenId>>();
    request.admission.forced = model_.json().at("forced").get<std::vector<TokenId>>();
    request.admission.top = model_.json().at("config").at("vocab_size");
    request.max_new = std::ssize(request.admission.forced);
    JobInput input;
    input.requests = {std::move(request)};
    input.listener.token = [this](RequestId, const Scored& scored) { rows_.push_back(scored.top); };
    input.listener.nll = [this](RequestId, double sum) { nll_ += sum; };
    input.listener.prefill = [](const Progress&) {};
    return input;
  }

  /// On all ranks; what the first one heard is compared.
  void run(const JobOptions& options, int tp, const std::string& what) {
    run(test::machine(), options, tp, what);
  }

  void run(Machine& machine, const JobOptions& options, int tp, const std::string& what) {
    rows_.clear();
    nll_ = 0;
    LoadedModel model =
        load_model(machine, open_model(machine, directory_.path().string()), {.tp = tp});
    if (machine.rank() != 0) {
      run_job(machine, model, options, nullptr);
      return;
    }
    JobInput job = input();
    run_job(machine, model, options, &job);
    expect_as_transformers(what);
  }

  void expect_as_transformers(const std::string& what) const {
    const nlohmann::json& logprobs = model_.json().at("logprobs");
    EXPECT_NEAR(nll_, model_.json().at("nll").get<double>(), 1e-3) << what;
    EXPECT_EQ(rows_.size(), logprobs.size()) << what;
    double worst = 0;
    std::string where = "nowhere";
    for (std::size_t row = 0; row < std::min(rows_.size(), logprobs.size()); ++row) {
      for (const TokenScore& token : rows_[row]) {
        const double off = std::fabs(token.logprob - logprobs[row][token.id].get<double>());
        if (off <= worst) continue;
        worst = off;
        where = str("token {} of answer {}", token.id, row);
      }
    }
    EXPECT_LT(worst, 1e-4) << what << ": worst at " << where;
  }

  test::FamilyModel model_{GetParam()};
  test::TemporaryDirectory directory_;
  std::vector<std::vector<TokenScore>> rows_;  // of each forced token
  double nll_ = 0;
};

TEST_P(GpuFamiliesTest, SaysWhatTransformersSays) {
  const int degree = test::machine().size();
  run({.degree = degree, .page_tokens = 4, .chunk_tokens = 16}, 1, str("degree {}", degree));
  run({.degree = 1, .page_tokens = 128}, 1, "degree 1, in one chunk");
}

TEST_P(GpuFamiliesTest, EveryStrategySaysTheSame) {
  const int degree = test::machine().size();
  if (degree == 1) return;  // nothing is split
  for (const Strategy strategy :
       {Strategy::kRing, Strategy::kQueryRing, Strategy::kAllGather, Strategy::kGatherQuery}) {
    run({.degree = degree, .page_tokens = 4, .plans = {PlannedStrategy{.strategy = strategy}}}, 1,
        std::string(name(strategy)));
  }
  for (const DecodeStrategy decode :
       {DecodeStrategy::kTree, DecodeStrategy::kMirrored, DecodeStrategy::kSliced}) {
    run({.degree = degree, .page_tokens = 4, .decode_strategy = decode}, 1,
        std::string(name(decode)));
  }
}

TEST_P(GpuFamiliesTest, GraphsSayTheSame) {
  if (test::machine().size() > 1) return;  // nothing is replayed
  WithGraphs machine(test::machine());
  run(machine, {.degree = 1, .page_tokens = 4, .chunk_tokens = 16}, 1, "replayed");
}

TEST_P(GpuFamiliesTest, PartsSayTheSame) {
  const int tp = test::machine().size();
  const OpenedModel opened = open_model(directory_.path().string());
  const std::vector<int> usable = usable_part_counts(opened.config);
  if (tp == 1 || std::ranges::count(usable, tp) == 0) return;
  run({.degree = 1, .page_tokens = 4}, tp, str("tp {}", tp));
}

INSTANTIATE_TEST_SUITE_P(All, GpuFamiliesTest, testing::ValuesIn(test::FamilyModel::names()),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
                           return name;
                         });

}  // namespace
}  // namespace longspan
