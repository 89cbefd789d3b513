// Models of each family, and of many head sizes, give the log-probabilities that transformers
// gives, whatever the degree; in bfloat16 nearly so.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "comm/str.h"
#include "runtime/engine/load_model.h"
#include "runtime/model/model_part.h"
#include "tests/runtime/engine/run_job.h"
#include "tests/runtime/model/family_model.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

/// What a job said of the prompt and of each forced token.
struct Heard {
  double nll = 0;
  std::vector<std::vector<TokenScore>> rows;
};

/// How far log-probabilities are from others.
struct Distance {
  double mean = 0;
  double max = 0;
};

using FolderAndName = std::pair<std::string, std::string>;

class FamiliesTest : public testing::TestWithParam<FolderAndName> {
 protected:
  void SetUp() override { model_.write(directory_.path()); }

  JobRequest request() const {
    JobRequest request{.wants_nll = true};
    request.admission.prompt = model_.json().at("prompt").get<std::vector<TokenId>>();
    request.admission.forced = model_.json().at("forced").get<std::vector<TokenId>>();
    request.admission.top = model_.json().at("config").at("vocab_size");
    request.max_new = std::ssize(request.admission.forced);
    return request;
  }

  Heard run(int ranks, const JobOptions& options, LoadModelOptions load = {}) {
    Heard heard;
    test::run_machines(ranks, [&](Machine& machine) {
      LoadedModel model =
          load_model(machine, open_model(machine, directory_.path().string()), load);
      if (machine.rank() != 0) {
        run_job(machine, model, options, nullptr);
        return;
      }
      JobInput input;
      input.requests = {request()};
      input.listener.token = [&](RequestId, const Scored& scored) {
        heard.rows.push_back(scored.top);
      };
      input.listener.nll = [&](RequestId, double sum) { heard.nll += sum; };
      input.listener.prefill = [](const Progress&) {};
      run_job(machine, model, options, &input);
    });
    return heard;
  }

  /// Of every token of the vocabulary behind each forced one.
  Distance from_transformers(const Heard& heard) const {
    const nlohmann::json& logprobs = model_.json().at("logprobs");
    if (heard.rows.size() != logprobs.size()) return {NAN, NAN};
    Distance distance;
    double values = 0;
    for (std::size_t row = 0; row < logprobs.size(); ++row) {
      if (heard.rows[row].size() != logprobs[row].size()) return {NAN, NAN};
      for (const TokenScore& token : heard.rows[row]) {
        const double off = std::fabs(token.logprob - logprobs[row][token.id].get<double>());
        distance.max = std::fmax(distance.max, off);
        distance.mean += off;
        ++values;
      }
    }
    distance.mean /= values;
    return distance;
  }

  void expect_as_transformers(const Heard& heard, const std::string& what) const {
    EXPECT_NEAR(heard.nll, model_.json().at("nll").get<double>(), 1e-3) << what;
    EXPECT_LT(from_transformers(heard).max, 1e-4) << what;
  }

  /// Off by at most twice what transformers is in bfloat16, and sure of the same tokens.
  void expect_nearly_as_transformers(const Heard& heard, const std::string& what) const {
    const double others = static_cast<double>(model_.json().at("prompt").size() - 1);
    EXPECT_NEAR(heard.nll / others, model_.json().at("nll").get<double>() / others, 0.05) << what;
    const nlohmann::json& theirs = model_.json().at("bfloat16");
    const Distance distance = from_transformers(heard);
    EXPECT_LT(distance.mean, 2 * theirs.at("mean").get<double>()) << what;
    EXPECT_LT(distance.max, 2 * theirs.at("max").get<double>()) << what;
    const nlohmann::json& logprobs = model_.json().at("logprobs");
    for (std::size_t row = 0; row < heard.rows.size(); ++row) {
      const std::vector<double> expected = logprobs[row];
      const auto best = std::ranges::max_element(expected);
      std::vector<double> others_of_row(expected.begin(), best);
      others_of_row.insert(others_of_row.end(), best + 1, expected.end());
      if (*best - std::ranges::max(others_of_row) < kClearLead) continue;
      EXPECT_EQ(heard.rows[row].front().id, best - expected.begin()) << what;
    }
  }

  static constexpr double kClearLead = 0.3;

  test::FamilyModel model_{GetParam().second, GetParam().first};
  test::TemporaryDirectory directory_;
};

TEST_P(FamiliesTest, SaysWhatTransformersSays) {
  for (const int degree : {1, 3, 4}) {
    expect_as_transformers(run(degree, {.degree = degree, .page_tokens = 4, .chunk_tokens = 16}),
                           str("degree {}", degree));
  }
}

TEST_P(FamiliesTest, SlicedDecodeSaysTheSame) {
  const JobOptions options{
      .degree = 3, .page_tokens = 4, .decode_strategy = DecodeStrategy::kSliced};
  expect_as_transformers(run(3, options), "sliced");
}

TEST_P(FamiliesTest, EachUsableNumberOfPartsSaysTheSame) {
  const OpenedModel opened = open_model(directory_.path().string());
  for (const int tp : usable_part_counts(opened.config)) {
    expect_as_transformers(run(tp, {.degree = 1, .page_tokens = 4}, {.tp = tp}), str("tp {}", tp));
  }
}

/// On every CPU: without AMX matrices are widened in registers, and attention stays float32.
TEST_P(FamiliesTest, Bfloat16IsNoFurtherThanTwiceTransformersOwn) {
  for (const int degree : {1, 3}) {
    const JobOptions options{
        .degree = degree, .page_tokens = 4, .chunk_tokens = 16, .kv_type = KvType::kBFloat16};
    const Heard heard = run(degree, options, {.precision = Precision::kBFloat16});
    expect_nearly_as_transformers(heard, str("degree {}", degree));
    EXPECT_GT(from_transformers(heard).max, 1e-4) << "nothing was rounded";
  }
}

std::vector<FolderAndName> all_of(const std::string& folder) {
  std::vector<FolderAndName> all;
  for (const std::string& name : test::FamilyModel::names(folder)) all.emplace_back(folder, name);
  return all;
}

std::string name_of(const testing::TestParamInfo<FolderAndName>& model) {
  std::string name = model.param.second;
  std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesTest, testing::ValuesIn(all_of("families")), name_of);
INSTANTIATE_TEST_SUITE_P(HeadSizes, FamiliesTest, testing::ValuesIn(all_of("head_sizes")), name_of);

}  // namespace
}  // namespace longspan
