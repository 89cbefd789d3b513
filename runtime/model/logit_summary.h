// What a device says of rows of logits, so that a row's 128,000 need not come to the host for a
// token and its probability.
//
//   device   logits --> pieces --> best, sums, the 256 best in order
//   host                                  `--> a few dozen bytes, or 2 KB: sampler.h, draw.h
//
// Ties go to the lower id. The sums are taken in double, in an order that only the vocabulary's
// size decides.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/device.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// Of a row, at most: most draws with a filter need fewer.
inline constexpr int kListedLogits = 256;

struct LogitWish {
  std::int32_t row = 0;    // of the logits
  TokenId named = -1;      // a token whose logit is wanted; -1: none
  double temperature = 0;  // 0: nothing is drawn
  bool wants_list = false;
};

struct LogitSummary {
  double exp_sum = 0;     // of exp(logit - best)
  double weight_sum = 0;  // of exp((logit - best) / temperature); 0 without one
  float best = 0;
  TokenId best_id = 0;
  float named_logit = 0;
  std::int32_t is_usable = 0;  // no NaN, no +inf, not all -inf; else only this is of meaning
};

struct ListedLogit {
  float logit = 0;
  TokenId id = 0;
};

class LogitSummaries {
 public:
  LogitSummaries() = default;
  LogitSummaries(const LogitSummaries&) = delete;
  LogitSummaries& operator=(const LogitSummaries&) = delete;
  virtual ~LogitSummaries() = default;

  /// Enqueues a summary for each wish, as many as rows were planned for. Rows may be named by
  /// several. The next call, and whoever reads, comes when the stream is past this one.
  virtual void summarise(Stream& stream, const float* logits /*(rows, vocabulary)*/,
                         std::vector<LogitWish> wishes) = 0;
  virtual const LogitSummary& summary(std::size_t wish) const = 0;
  /// The best logits, best first: of a wish that wants them kListedLogits, or the vocabulary.
  virtual std::span<const ListedLogit> list(std::size_t wish) const = 0;
};

}  // namespace longspan
