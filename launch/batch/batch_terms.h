// What the requests of a batch are answered with, where they do not say themselves: from the
// command line, then from the model.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "attention/precision.h"
#include "launch/options.h"
#include "runtime/engine/load_model.h"
#include "runtime/serving/request_sampling.h"

namespace longspan {

struct BatchTerms {
  std::vector<std::string> names;  // of the model; the first is reported
  SamplingDefaults sampling;
  std::optional<std::int64_t> max_tokens;  // of an answer that asks for no number
  std::int64_t context = 0;                // most tokens of prompt and answer
};

/// Throws UsageError where options and model do not go together, and as generation_config_of().
BatchTerms batch_terms(const RunBatchOptions& options, const OpenedModel& opened);

/// All that answers depend on: {"model": {...}, "options": {...}}. How the work is shared is not
/// among it: that changes no token.
nlohmann::json batch_facts(const RunBatchOptions& options, const OpenedModel& opened,
                           const BatchTerms& terms, Precision precision);

}  // namespace longspan
