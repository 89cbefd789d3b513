#include "launch/bench/attention_prediction.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "attention/strategy_time.h"
#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/str.h"
#include "launch/bench/attention_cases.h"
#include "launch/version.h"
#include "runtime/engine/rates_json.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

std::ifstream open_rates(const std::filesystem::path& file) {
  errno = 0;
  std::ifstream in(file);
  if (in) return in;
  const int error = errno;
  throw_read_error(error, str("cannot read the rates in {}: {}; --predict names the file",
                              file.string(), std::strerror(error)));
}

[[noreturn]] void refuse_rates(const std::filesystem::path& file, const std::string& why) {
  throw DataError(
      str("{} holds no rates: {}; give what longspan bench attention --json printed, or a "
          "calibration from longspan's cache folder",
          file.string(), why));
}

std::string heads_text(const HeadShape& heads) {
  return str("{}/{} x {}", heads.query_heads, heads.kv_heads, heads.head_dim);
}

json json_of(const PredictedChunk& chunk, int degree) {
  json strategies = json::array();
  for (const PredictedChunk::Way& one : chunk.ways) {
    strategies.push_back({{"strategy", describe(one.plan, degree)}, {"predicted_s", one.seconds}});
  }
  return {{"tokens", chunk.size.tokens},
          {"cached", chunk.size.cached},
          {"layout", name(chunk.layout)},
          {"strategies", strategies},
          {"chosen", describe(chunk.choice.plan, degree)},
          {"reason", chunk.choice.reason},
          {"chosen_predicted_s", chunk.choice.seconds}};
}

}  // namespace

MachineRates read_rates(const std::filesystem::path& file, int degree) {
  std::ifstream in = open_rates(file);
  try {
    const json all = json::parse(in);
    MachineRates rates = rates_of(all.at("rates"));
    if (!all.contains("degree") || all.at("degree") != degree) rates.probed.clear();
    return rates;
  } catch (const json::parse_error&) {
    refuse_rates(file, "it is not JSON");
  } catch (const json::exception&) {  // its words are for programmers
    refuse_rates(file, "some are missing");
  } catch (const DataError& error) {
    refuse_rates(file, error.what());
  }
}

std::vector<PredictedChunk> predict_chunks(const BenchAttentionOptions& options,
                                           const MachineRates& rates) {
  std::vector<PredictedChunk> chunks;
  for (const AttentionCase& one : attention_cases(options, std::vector<int>(*options.degree, 0))) {
    const StrategyQuestion question = one.question();
    PredictedChunk chunk{one.size, one.deal.layout, {}, one.choice(rates)};
    for (const PlannedStrategy& plan : one.plans) {
      if (options.strategies.chosen_only && plan != chunk.choice.plan) continue;
      chunk.ways.push_back(
          {plan, predicted_seconds(plan, one.shape, question.wire(), one.setting.hosts, rates)});
    }
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

std::string prediction_table(const std::vector<PredictedChunk>& chunks,
                             const BenchAttentionOptions& options) {
  const int degree = *options.degree;
  std::string text =
      str("longspan bench attention: predicted for {} rank{} of one host, by the rates in {} | {}\n"
          "attention of one layer, {}, pages of {}; nothing was measured; * what the cost model "
          "chooses\n{:>8} {:>8} {:13} {:18} {:>12}\n",
          degree, degree == 1 ? "" : "s", *options.predict, build_name(), heads_text(options.heads),
          options.page(), "tokens", "cached", "layout", "strategy", "predicted");
  for (const PredictedChunk& chunk : chunks) {
    for (const PredictedChunk::Way& one : chunk.ways) {
      const bool chosen = one.plan == chunk.choice.plan;
      text += str("{:>8} {:>8} {:13} {:18} {:>9.3f} ms\n", chunk.size.tokens, chunk.size.cached,
                  name(chunk.layout), describe(one.plan, degree) + (chosen ? " *" : ""),
                  1e3 * one.seconds);
    }
  }
  return text;
}

std::string prediction_json(const std::vector<PredictedChunk>& chunks,
                            const BenchAttentionOptions& options) {
  json object = {{"bench", "attention"},
                 {"version", build_name()},
                 {"degree", *options.degree},
                 {"rates_of", *options.predict},
                 {"heads",
                  {{"query", options.heads.query_heads},
                   {"kv", options.heads.kv_heads},
                   {"size", options.heads.head_dim}}},
                 {"page_tokens", options.page()},
                 {"chunks", json::array()}};
  for (const PredictedChunk& chunk : chunks) {
    object["chunks"].push_back(json_of(chunk, *options.degree));
  }
  return object.dump();
}

}  // namespace longspan
