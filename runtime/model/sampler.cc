#include "runtime/model/sampler.h"

#include <algorithm>
#include <cmath>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/draw.h"
#include "runtime/model/logit_adjustments.h"
#include "runtime/model/philox.h"

namespace longspan {
namespace {

constexpr std::size_t kPiece = 1024;  // logits whose largest is remembered

/// The largest of every piece: enough to pass over almost all pieces when looking for the best.
std::vector<float> piece_maxima(std::span<const float> logits) {
  std::vector<float> maxima;
  for (std::size_t i = 0; i < logits.size(); i += kPiece) {
    maxima.push_back(largest(logits.data() + i, std::min(kPiece, logits.size() - i)));
  }
  return maxima;
}

std::size_t first_unusable(std::span<const float> logits) {
  const auto unusable = [](float x) { return std::isnan(x) || (std::isinf(x) && x > 0); };
  const auto found = std::ranges::find_if(logits, unusable);
  return found == logits.end() ? 0 : found - logits.begin();  // else all are -inf
}

/// Log-probabilities of one row: what is left of a logit less the best and ln of the sum. In this
/// order, since best + ln(sum) forgets the sum when logits are huge.
class LogSoftmax {
 public:
  LogSoftmax(std::span<const float> logits, float best) : logits_(logits), best_(best) {
    const double sum = exp_sum(logits.data(), std::ssize(logits), best);
    if (!std::isfinite(sum) || !std::isfinite(best)) refuse();
    log_sum_ = std::log(sum);
  }

  double operator()(TokenId id) const { return logits_[id] - best_ - log_sum_; }

 private:
  [[noreturn]] void refuse() const {
    const std::size_t id = first_unusable(logits_);
    throw Error(ExitCode::kInternal,
                str("logit of token {} is {}: the model's output is not usable", id, logits_[id]));
  }

  std::span<const float> logits_;
  double best_;
  double log_sum_ = 0;
};

struct Candidate {
  float logit;
  TokenId id;

  static bool better(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
};

/// The `count` best, best first. A heap holds the best so far, the worst of them on top; a piece
/// whose largest does not beat it is passed over (equal would lose by its higher id).
std::vector<Candidate> best_of(std::span<const float> logits, std::span<const float> maxima,
                               std::size_t count) {
  std::vector<Candidate> heap;
  for (std::size_t piece = 0; piece < maxima.size(); ++piece) {
    if (heap.size() == count && maxima[piece] <= heap.front().logit) continue;
    const std::size_t end = std::min(logits.size(), (piece + 1) * kPiece);
    for (std::size_t i = piece * kPiece; i < end; ++i) {
      if (heap.size() == count) {
        if (logits[i] <= heap.front().logit) continue;
        std::ranges::pop_heap(heap, Candidate::better);
        heap.pop_back();
      }
      heap.push_back({logits[i], static_cast<TokenId>(i)});
      std::ranges::push_heap(heap, Candidate::better);
    }
  }
  std::ranges::sort_heap(heap, Candidate::better);
  return heap;
}

}  // namespace

Scored score(std::span<const float> logits, int top_k, std::optional<TokenId> forced) {
  expects(!logits.empty() && top_k >= 0, "score() needs logits");
  expects(!forced || (*forced >= 0 && *forced < std::ssize(logits)), "forced id in vocabulary");
  const std::vector<float> maxima = piece_maxima(logits);
  const LogSoftmax logprob(logits, std::ranges::max(maxima));
  const auto scored = [&](TokenId id) { return TokenScore{id, logprob(id)}; };

  const std::size_t wanted = std::clamp<std::size_t>(top_k, 1, logits.size());
  const std::vector<Candidate> best = best_of(logits, maxima, wanted);
  Scored result{scored(forced.value_or(best.front().id)), {}, 1};
  if (top_k == 0) return result;
  for (const Candidate& candidate : best) result.top.push_back(scored(candidate.id));
  return result;
}

Scored sample(std::span<const float> logits, int top_k, const Sampling& sampling,
              const TokenCounts& history, std::int64_t written, std::int64_t position) {
  if (!sampling.adjusts() && !sampling.draws()) return score(logits, top_k);
  std::vector<float> adjusted(logits.begin(), logits.end());
  adjust_logits(adjusted, sampling, history, written);
  if (!sampling.draws()) {
    const TokenId best = best_of(adjusted, piece_maxima(adjusted), 1).front().id;
    return score(logits, top_k, best);
  }
  const Draw drawn =
      draw(adjusted, sampling, uniform_number(sampling.seed, sampling.choice, position));
  Scored result = score(logits, top_k, drawn.id);
  result.margin = drawn.margin;
  return result;
}

double log_probability(std::span<const float> logits, TokenId id) {
  expects(id >= 0 && id < std::ssize(logits), "the id lies inside the vocabulary");
  return LogSoftmax(logits, largest(logits.data(), std::ssize(logits)))(id);
}

}  // namespace longspan
