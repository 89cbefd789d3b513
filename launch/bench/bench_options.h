// What `longspan bench` was asked to measure, as plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/backend.h"
#include "comm/binding.h"
#include "launch/option_words.h"
#include "launch/usual_page.h"

namespace longspan {

/// Of every bench: with what, for how long, and how it is told.
struct BenchOptions {
  std::optional<int> degree;                 // ranks that take part; absent: all
  std::optional<int> threads;                // per rank; absent: allowed cores / local ranks
  Binding bind = Binding::kAuto;             // of compute threads to cores
  std::optional<Backend> backend;            // absent: GPUs where there are any
  std::optional<GpuLink> gpu_link;           // see MachineOptions
  std::chrono::milliseconds seconds{1000};   // of each figure
  std::optional<std::string> throttle_link;  // as parse_link_throttle() reads it
  bool json = false;
  LogLevel log_level = LogLevel::kInfo;
};

struct BenchAttentionOptions : BenchOptions {
  std::vector<std::int64_t> tokens{512, 2048, 8192};  // new ones, of all ranks together
  std::optional<std::int64_t> cached;  // before them; absent: none, or drawn up to the most tokens
  std::optional<int> random;           // so many pairs of both instead, up to the most of each
  HeadShape heads{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  std::vector<Layout> layouts{Layout::kBlockCyclic};
  StrategyWish strategies;
  std::optional<int> page_tokens;              // absent: what suits the device
  std::optional<Precision> dtype;              // absent: what is fastest here
  std::optional<CalibrationEffort> calibrate;  // absent: quick on CPUs, off on GPUs

  int page() const { return page_tokens.value_or(page_tokens_of(Backend::kCpu)); }
  std::optional<std::string> plot;     // an SVG file
  std::optional<std::string> predict;  // a file with rates: nothing is measured; needs `degree`
};

/// Whose the keys of a step's rows are.
enum class RowKeys {
  kOwn,     // each row's
  kShared,  // of one prompt, to which the rows are answers: only its last page is a row's own
};

constexpr std::string_view name(RowKeys keys) {
  return keys == RowKeys::kShared ? "shared" : "own";
}

struct BenchDecodeOptions : BenchOptions {
  std::vector<std::int64_t> contexts{4096, 32768};  // keys of each row
  std::vector<int> rows{1, 8};                      // of a step, over all ranks
  std::vector<RowKeys> row_keys{RowKeys::kOwn};
  HeadShape heads{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  std::vector<DecodeStrategy> strategies{kDecodeStrategies.begin(), kDecodeStrategies.end()};
  std::optional<int> page_tokens;  // absent: what suits the device
  /// Absent: what suits the device. Not int8, whose pages only become so when they are full.
  std::optional<KvType> kv_type;

  int page() const { return page_tokens.value_or(page_tokens_of(Backend::kCpu)); }
  KvType keys() const { return kv_type.value_or(KvType::kFloat32); }
};

struct BenchCommOptions : BenchOptions {
  std::vector<std::int64_t> bytes{1 << 10, 16 << 10, 256 << 10, 4 << 20, 16 << 20};
};

struct BenchLoadOptions : BenchOptions {
  std::string model;
  std::optional<Precision> dtype;  // absent: what is fastest here
};

}  // namespace longspan
