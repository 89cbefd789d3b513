// Words of the command line that several commands share, as values: layouts, strategies, heads,
// calibration, links.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attention/approximation.h"
#include "attention/calibration_effort.h"
#include "attention/precision.h"
#include "attention/segment.h"
#include "attention/shard_layout.h"
#include "attention/strategy.h"
#include "comm/backend.h"
#include "comm/binding.h"
#include "comm/log.h"
#include "launch/option_values.h"
#include "scheduler/policies/policy.h"

namespace longspan {

/// All of these throw UsageError.
Layout layout_word(const Given& given);
/// "all", or words with commas between them.
std::vector<Layout> layout_words(const Given& given);
/// Nothing for "auto".
std::optional<Strategy> strategy_word(const Given& given);
DecodeStrategy decode_strategy_word(const Given& given);
/// Nothing for "random_elastic", whose groups are those of static_sp.
std::optional<PolicyKind> policy_word(const Given& given);
/// "all", or words with commas between them.
std::vector<DecodeStrategy> decode_strategy_words(const Given& given);
/// Nothing for "auto".
std::optional<Precision> dtype_word(const Given& given);
AttentionKind attention_word(const Given& given);
CalibrationEffort calibrate_word(const Given& given);
Binding bind_word(const Given& given);
/// Nothing for "auto".
std::optional<Backend> backend_word(const Given& given);
std::optional<GpuLink> gpu_link_word(const Given& given);
LogLevel log_level_word(const Given& given);
/// The text, once parse_link_throttle() understands it.
std::string link_throttle_text(const Given& given);
/// Query heads, KV heads and head size: "32/8x128" or "32x8x128".
HeadShape head_shape(const Given& given);

/// Which prefill strategies a bench measures.
struct StrategyWish {
  std::vector<Strategy> named;  // empty: all that are legal
  bool chosen_only = false;     // of those only what `auto` would take

  bool operator==(const StrategyWish&) const = default;
};

/// "all", "auto", or words with commas between them.
StrategyWish strategy_wish(const Given& given);

}  // namespace longspan
