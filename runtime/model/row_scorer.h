// Tokens and their probabilities from rows of logits, wherever those lie.
//
//   host can read them     score(), sample() of the row where it is
//   else                   from the device's summaries, as far as they prove what the whole row
//                          would give; rows of which they do not are copied
//
// Which rows need be copied: all whose request changes logits or draws without a filter; of those
// with a filter the few that it leaves more of than are listed; and rows with a logit that is not
// usable, so that it can be named. The tokens are those of sample() in any case; log-probabilities
// differ by what two ways to add up 128,000 values do.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/device.h"
#include "runtime/model/logit_summary.h"
#include "runtime/model/sampler.h"

namespace longspan {

/// What is asked of a row. Borrows.
struct RowQuestion {
  std::int64_t row = 0;                // of the logits
  int top = 0;                         // alternatives to report
  std::optional<TokenId> forced;       // instead of a token that is sampled
  const Sampling* sampling = nullptr;  // these four where none is forced: see sample()
  const TokenCounts* history = nullptr;
  std::int64_t written = 0;
  std::int64_t position = 0;
};

class RowScorer {
 public:
  struct Shape {
    int vocabulary = 0;
    std::int64_t rows = 0;   // of logits at once, and questions
    bool host_reads = true;  // what the device's memory holds
  };

  /// Borrows the device. `summaries`, if any, are made for the shape.
  RowScorer(Device& device, std::unique_ptr<LogitSummaries> summaries, const Shape& shape);

  /// An answer for each question. `await` waits for what is enqueued on `stream`. Throws as
  /// score().
  std::vector<Scored> score(Stream& stream, const float* logits /*(rows, vocabulary)*/,
                            std::span<const RowQuestion> questions,
                            const std::function<void()>& await);
  /// Rows that came to the host whole, so far.
  std::int64_t copied_rows() const { return copied_rows_; }

 private:
  void copy(Stream& stream, const float* logits, std::int64_t row);
  std::span<const float> row_of(const float* logits, std::int64_t row) const;

  Device& device_;
  Shape shape_;
  std::unique_ptr<LogitSummaries> summaries_;
  Buffer host_;  // (rows, vocabulary), where the host cannot read the device's
  std::int64_t copied_rows_ = 0;
};

}  // namespace longspan
