// One answer as the JSON object of `longspan generate --json` and `longspan chat --json`.
#pragma once

#include <string>
#include <vector>

#include "attention/approximation.h"
#include "launch/answer.h"
#include "runtime/engine/messages.h"
#include "runtime/model/sampling.h"
#include "runtime/model/weights.h"

namespace longspan {

/// What the answers of one run share.
struct RunFacts {
  std::string model;
  int degree = 1;  // instances that split the sequence
  int tp = 1;      // ranks of an instance
  std::string layout;
  std::string dtype;
  std::string kv_dtype;
  bool rope_float32 = false;
  std::string decode_strategy;  // "shipped"
  AttentionKind attention = AttentionKind::kExact;
  Sampling sampling;
  double load_s = 0;     // from the start of the command until weights could be used
  LoadReport load;       // of the weights on rank 0
  std::string manifest;  // "checked", "none" or "ignored"
  std::vector<RankSummary> ranks;
  int top = 0;  // alternatives asked for
};

/// One line, without its end.
std::string answer_json(const Answer& answer, const RunFacts& run);
/// The same of a turn of a conversation: with what was kept and read of its prompt, and without the
/// ranks, which report at the end.
std::string turn_json(const Answer& answer, const RunFacts& run);

}  // namespace longspan
