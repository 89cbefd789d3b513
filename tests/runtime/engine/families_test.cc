// Models of each family give the log-probabilities that transformers gives, whatever the degree.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "comm/str.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"
#include "runtime/model/model_part.h"
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

class FamiliesTest : public testing::TestWithParam<std::string> {
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

  Heard run(int ranks, const JobOptions& options, int tp = 1) {
    Heard heard;
    test::run_machines(ranks, [&](Machine& machine) {
      LoadedModel model =
          load_model(machine, open_model(machine, directory_.path().string()), {.tp = tp});
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

  void expect_as_transformers(const Heard& heard, const std::string& what) const {
    const nlohmann::json& logprobs = model_.json().at("logprobs");
    EXPECT_NEAR(heard.nll, model_.json().at("nll").get<double>(), 1e-3) << what;
    ASSERT_EQ(heard.rows.size(), logprobs.size()) << what;
    double worst = 0;
    for (std::size_t row = 0; row < logprobs.size(); ++row) {
      ASSERT_EQ(heard.rows[row].size(), logprobs[row].size()) << what;
      for (const TokenScore& token : heard.rows[row]) {
        const double expected = logprobs[row][token.id];
        worst = std::fmax(worst, std::fabs(token.logprob - expected));
      }
    }
    EXPECT_LT(worst, 1e-4) << what;
  }

  test::FamilyModel model_{GetParam()};
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
    expect_as_transformers(run(tp, {.degree = 1, .page_tokens = 4}, tp), str("tp {}", tp));
  }
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesTest, testing::ValuesIn(test::FamilyModel::names()),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
                           return name;
                         });

}  // namespace
}  // namespace longspan
