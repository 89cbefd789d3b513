#include "launch/answer_json.h"

#include <nlohmann/json.hpp>

#include "launch/sampling_json.h"
#include "runtime/engine/instance_ranks.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

json logprobs_of(const Answer& answer) {
  json list = json::array();
  for (const Scored& token : answer.tokens) {
    json top = json::array();
    for (const TokenScore& other : token.top) {
      top.push_back({{"id", other.id}, {"logprob", other.logprob}});
    }
    list.push_back({{"id", token.chosen.id}, {"logprob", token.chosen.logprob}, {"top", top}});
  }
  return list;
}

/// The seed of answers that draw nothing says nothing.
json sampling_of(const Sampling& sampling) {
  json object = sampling_json(sampling);
  object["seed"] = sampling.draws() ? json(sampling.seed) : json(nullptr);
  return object;
}

json stop_of(const Answer& answer) {
  if (answer.stop_text) return *answer.stop_text;
  return answer.stop_id ? json(*answer.stop_id) : json(nullptr);
}

json timings_of(const Answer& answer, const RunFacts& run) {
  return {{"load_s", run.load_s},
          {"prefill_s", answer.prefill_s()},
          {"decode_s", answer.decode_s()},
          {"ttft_s", answer.first_token},
          {"prefill_tokens_per_s", answer.prefill_tokens_per_s()},
          {"decode_tokens_per_s", answer.decode_tokens_per_s()},
          {"cached_tokens", answer.kept}};
}

/// How the weights got here.
json load_of(const RunFacts& run) {
  return {{"read_bytes", run.load.file_bytes},
          {"read_s", run.load.seconds},
          {"read_gb_per_s", run.load.gigabytes_per_second()},
          {"manifest", run.manifest}};
}

json ranks_of(const RunFacts& run) {
  const InstanceRanks instances(run.tp);
  json list = json::array();
  for (const RankSummary& rank : run.ranks) {
    list.push_back({{"rank", rank.rank},
                    {"instance", instances.instance_of(rank.rank)},
                    {"tp_index", instances.part_of(rank.rank)},
                    {"host", rank.host},
                    {"device", rank.device},
                    {"kv_pages_used", rank.kv_pages_used},
                    {"kv_pages_total", rank.kv_pages_total},
                    {"planned_bytes", rank.planned_bytes},
                    {"resident_bytes", rank.resident_bytes},
                    {"sent_bytes", rank.sent_bytes},
                    {"received_bytes", rank.received_bytes}});
  }
  return list;
}

/// An answer that was cut off by a signal has no reason to have ended.
json finish_of(const Answer& answer) {
  if (answer.stopped) return "stop";
  return answer.complete ? json("length") : json(nullptr);
}

json object_of(const Answer& answer, const RunFacts& run) {
  json ids = json::array();
  for (const Scored& token : answer.tokens) ids.push_back(token.chosen.id);
  const auto nll = answer.prompt_nll();
  return {{"model", run.model},
          {"prompt_tokens", answer.prompt.size()},
          {"prompt_ids", answer.prompt},
          {"prompt_nll", nll ? json(*nll) : json(nullptr)},
          {"ids", ids},
          {"text", answer.text},
          {"finish_reason", finish_of(answer)},
          {"stop_reason", stop_of(answer)},
          {"sampling", sampling_of(run.sampling)},
          {"logprobs", logprobs_of(answer)},
          {"degree", run.degree},
          {"tp", run.tp},
          {"layout", run.layout},
          {"dtype", run.dtype},
          {"kv_dtype", run.kv_dtype},
          {"rope_float32", run.rope_float32},
          {"strategy", answer.strategy},
          {"strategy_reason", answer.strategy_reason},
          {"decode_strategy", run.decode_strategy},
          {"attention", name(run.attention)},
          {"approximate", run.attention != AttentionKind::kExact},
          {"predicted_s", answer.predicted_s},
          {"timings", timings_of(answer, run)},
          {"load", load_of(run)}};
}

std::string line_of(const json& object) {
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string answer_json(const Answer& answer, const RunFacts& run) {
  json object = object_of(answer, run);
  object["ranks"] = ranks_of(run);
  return line_of(object);
}

std::string turn_json(const Answer& answer, const RunFacts& run) {
  json object = object_of(answer, run);
  object["kept_tokens"] = answer.kept;
  object["prefilled_tokens"] = answer.read;
  return line_of(object);
}

}  // namespace longspan
