#include "launch/option_words.h"

#include <array>
#include <optional>
#include <string_view>

#include "comm/error.h"
#include "comm/link_throttle.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::array kLayouts = {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                                 Layout::kContiguous, Layout::kFolded};
constexpr Range kHeads{1, 1024};

/// The names of `values`, after `before`.
template <std::size_t N, typename Value>
std::vector<std::string_view> names(const std::array<Value, N>& values,
                                    std::vector<std::string_view> before = {}) {
  for (Value value : values) before.push_back(name(value));
  return before;
}

/// Of words with commas between them those that `given` lists, in its order.
template <std::size_t N, typename Value>
std::vector<Value> listed(const Given& given, const std::array<Value, N>& values) {
  std::vector<Value> list;
  for (std::size_t i : some_of(given, names(values))) list.push_back(values[i]);
  return list;
}

/// The number before `separator`, which is cut off `rest` with it.
std::optional<int> part_before(std::string_view separators, const Given& given, std::string& rest) {
  const std::size_t at = rest.find_first_of(separators);
  if (at == std::string::npos) return std::nullopt;
  const auto part = whole_number({given.name, rest.substr(0, at)}, kHeads);
  rest.erase(0, at + 1);
  return static_cast<int>(part);
}

}  // namespace

Layout layout_word(const Given& given) { return kLayouts[one_of(given, names(kLayouts))]; }

std::vector<Layout> layout_words(const Given& given) {
  if (given.value == "all") return {kLayouts.begin(), kLayouts.end()};
  return listed(given, kLayouts);
}

std::optional<Strategy> strategy_word(const Given& given) {
  const std::size_t word = one_of(given, names(kStrategies, {"auto"}));
  if (word == 0) return std::nullopt;
  return kStrategies[word - 1];
}

DecodeStrategy decode_strategy_word(const Given& given) {
  return kDecodeStrategies[one_of(given, names(kDecodeStrategies))];
}

std::optional<PolicyKind> policy_word(const Given& given) {
  const std::size_t word = one_of(given, names(kPolicies, {"random_elastic"}));
  if (word == 0) return std::nullopt;
  return kPolicies[word - 1];
}

std::vector<DecodeStrategy> decode_strategy_words(const Given& given) {
  if (given.value == "all") return {kDecodeStrategies.begin(), kDecodeStrategies.end()};
  return listed(given, kDecodeStrategies);
}

std::optional<Precision> dtype_word(const Given& given) {
  constexpr std::array kPrecisions{Precision::kFloat32, Precision::kBFloat16};
  const std::size_t word = one_of(given, names(kPrecisions, {"auto"}));
  if (word == 0) return std::nullopt;
  return kPrecisions[word - 1];
}

AttentionKind attention_word(const Given& given) {
  return kAttentionKinds[one_of(given, names(kAttentionKinds))];
}

CalibrationEffort calibrate_word(const Given& given) {
  return kCalibrationEfforts[one_of(given, names(kCalibrationEfforts))];
}

Binding bind_word(const Given& given) {
  constexpr std::array<std::string_view, 2> kWords = {"auto", "none"};
  return static_cast<Binding>(one_of(given, kWords));
}

std::optional<Backend> backend_word(const Given& given) {
  constexpr std::array kBackends{Backend::kCpu, Backend::kCuda};
  const std::size_t word = one_of(given, names(kBackends, {"auto"}));
  if (word == 0) return std::nullopt;
  return kBackends[word - 1];
}

std::optional<GpuLink> gpu_link_word(const Given& given) {
  constexpr std::array kLinks{GpuLink::kNccl, GpuLink::kPeer};
  const std::size_t word = one_of(given, names(kLinks, {"auto"}));
  if (word == 0) return std::nullopt;
  return kLinks[word - 1];
}

LogLevel log_level_word(const Given& given) {
  constexpr std::array<std::string_view, 4> kWords = {"debug", "info", "warning", "error"};
  return static_cast<LogLevel>(one_of(given, kWords));
}

std::string link_throttle_text(const Given& given) {
  if (parse_link_throttle(given.value)) return given.value;
  throw UsageError(
      str("{} must be bytes per second, and a latency if wanted, as 25M or 1.25G,200us, not '{}'",
          given.name, given.value));
}

HeadShape head_shape(const Given& given) {
  std::string rest = given.value;
  const auto query_heads = part_before("/x", given, rest);
  const auto kv_heads = part_before("x", given, rest);
  if (!query_heads || !kv_heads) {
    throw UsageError(str("{} must be QUERYxKVxSIZE, as 32x8x128 or 32/8x128, not '{}'", given.name,
                         given.value));
  }
  const auto head_dim = static_cast<int>(whole_number({given.name, rest}, {16, 256}));
  if (head_dim % 8 != 0) {
    throw UsageError(
        str("{} needs a head size that is a multiple of 8, not {}", given.name, head_dim));
  }
  if (*query_heads % *kv_heads != 0) {
    throw UsageError(str("{} needs KV heads that divide the query heads, but {} does not divide {}",
                         given.name, *kv_heads, *query_heads));
  }
  return {.query_heads = *query_heads, .kv_heads = *kv_heads, .head_dim = head_dim};
}

StrategyWish strategy_wish(const Given& given) {
  if (given.value == "all") return {};
  if (given.value == "auto") return {.named = {}, .chosen_only = true};
  return {.named = listed(given, kStrategies), .chosen_only = false};
}

}  // namespace longspan
