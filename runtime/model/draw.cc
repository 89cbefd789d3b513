#include "runtime/model/draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "runtime/model/cpu/vector_kernels.h"

namespace longspan {
namespace {

/// A token that may be drawn. The best one's score is 0 and its weight 1.
struct Candidate {
  double score;   // (logit - best logit) / temperature
  double weight;  // e to the score
  TokenId id;

  static bool better(const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  }
};

/// The sum of all weights, as a device and as this host adds them up, differs by less (relative:
/// both in double, of a few million at most).
constexpr double kSumError = 1e-9;

/// The tokens that are left, in order of id, and how near the filters came to leaving others.
///
/// Some may not be listed. No score of those is above `beyond_`: a filter that leaves only tokens
/// above it leaves what it would have of all.
class Candidates {
 public:
  Candidates(const LogitSummary& summary, std::span<const ListedLogit> list, double temperature) {
    const double best = summary.best;
    for (const ListedLogit& one : list) {
      if (one.logit > -std::numeric_limits<float>::infinity())
        add(one.logit, one.id, best, temperature);
    }
    if (list.size() == kListedLogits && left_.size() == list.size()) beyond_ = left_.back().score;
    std::ranges::sort(left_, {}, &Candidate::id);
    sum_ = summary.weight_sum;
    if (!beyond_) add_up();
  }

  Candidates(std::span<const float> logits, double temperature) {
    const double best = largest(logits.data(), std::ssize(logits));
    if (!std::isfinite(best)) return;
    left_.reserve(logits.size());
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (!(logits[id] > -std::numeric_limits<float>::infinity())) continue;
      add(logits[id], static_cast<TokenId>(id), best, temperature);
    }
    add_up();
  }

  /// Those at least as good as the k-th stay, as with transformers: more than k where some are
  /// equal.
  void keep_top_k(std::int64_t k) {
    if (k <= 0) return;
    if (k >= std::ssize(left_)) return doubt_if(beyond_.has_value());
    std::vector<Candidate> sorted = left_;
    std::ranges::nth_element(sorted, sorted.begin() + k, Candidate::better);
    const Candidate& first_out = sorted[k];
    const Candidate last_in =
        *std::max_element(sorted.begin(), sorted.begin() + k, Candidate::better);
    keep_only([&](const Candidate& c) { return c.score >= last_in.score; }, last_in.score);
    if (first_out.score < last_in.score) note_gap(last_in.score - first_out.score, last_in);
  }

  /// A token stays while those better than it hold less than p.
  void keep_top_p(double p) {
    if (p >= 1) return;
    std::vector<Candidate> sorted = left_;
    std::size_t in_place = 0, kept = 0;
    for (double held = 0; kept < sorted.size() && held < p; ++kept) {
      if (kept == in_place) in_place = sort_more(sorted, in_place);
      held += sorted[kept].weight / sum_;
      note_gap(std::abs(held - p), sorted[kept]);
      doubt_if(beyond_ && std::abs(held - p) < kSumError);
    }
    if (kept == sorted.size()) return doubt_if(beyond_.has_value());
    if (kept == in_place) sort_more(sorted, in_place);
    const Candidate& first_out = sorted[kept];
    note_gap(sorted[kept - 1].score - first_out.score, first_out);
    keep_only([&](const Candidate& c) { return Candidate::better(c, first_out); }, first_out.score);
  }

  void keep_min_p(double p) {
    if (p <= 0) return;
    const double least = std::log(p);
    for (const Candidate& c : left_) note_gap(std::abs(c.score - least), c);
    keep_only([&](const Candidate& c) { return c.score >= least; }, least);
  }

  /// Whether what is left is what would be left of all.
  bool is_sure() const { return sure_ && !beyond_; }

  Draw pick(double number) const {
    if (left_.empty()) return {};
    const double target = number * sum_;
    double begin = 0, end = 0;
    auto at = left_.begin();
    for (; at != left_.end(); ++at) {
      begin = end;
      end += at->weight;
      if (target < end) break;
    }
    if (at == left_.end()) --at;  // a number so near 1 that rounding the product made it the sum
    // Below the first token's part and above the last one's there is no border.
    const double down = at == left_.begin() ? 1 : (target - begin) / sum_;
    const double up = at == std::prev(left_.end()) ? 1 : (end - target) / sum_;
    return {at->id, std::min({margin_, down, up})};
  }

 private:
  void add(float logit, TokenId id, double best, double temperature) {
    const double score = (logit - best) / temperature;
    left_.push_back({score, std::exp(score), id});
  }

  void doubt_if(bool doubtful) { sure_ = sure_ && !doubtful; }

  /// `stays` is so of no score below `border`. One at the border counts, for where it lies tokens
  /// are ordered by id, and one that is not listed may have a lower one.
  template <typename Stays>
  void keep_only(const Stays& stays, double border) {
    std::erase_if(left_, [&](const Candidate& c) { return !stays(c); });
    doubt_if(beyond_ && border <= *beyond_);
    beyond_.reset();
    add_up();
  }

  void add_up() {
    sum_ = 0;
    for (const Candidate& c : left_) sum_ += c.weight;
  }

  /// Puts twice as many of the best in their places as there are, and says how many that is: most
  /// distributions need a few of a whole vocabulary.
  static std::size_t sort_more(std::vector<Candidate>& list, std::size_t in_place) {
    const std::size_t until = std::min(list.size(), std::max<std::size_t>(64, 2 * in_place));
    const auto from = list.begin() + static_cast<std::ptrdiff_t>(in_place);
    const auto to = list.begin() + static_cast<std::ptrdiff_t>(until);
    if (to != list.end()) std::nth_element(from, to, list.end(), Candidate::better);
    std::sort(from, to, Candidate::better);
    return until;
  }

  /// A filter was `gap` away from deciding otherwise about this token. One of little probability
  /// moves the borders little, however near it was.
  void note_gap(double gap, const Candidate& token) {
    constexpr double kLittle = 1e-6;
    if (token.weight > kLittle * sum_) margin_ = std::min(margin_, gap);
  }

  std::vector<Candidate> left_;
  double sum_ = 0;  // of their weights, those not listed too
  double margin_ = 1;
  std::optional<double> beyond_;  // if some are not listed
  bool sure_ = true;
};

void filter(Candidates& candidates, const Sampling& sampling) {
  candidates.keep_top_k(sampling.top_k);
  candidates.keep_top_p(sampling.top_p);
  candidates.keep_min_p(sampling.min_p);
}

}  // namespace

Draw draw(std::span<const float> logits, const Sampling& sampling, double number) {
  Candidates candidates(logits, sampling.temperature);
  filter(candidates, sampling);
  return candidates.pick(number);
}

std::optional<Draw> draw_listed(const LogitSummary& summary, std::span<const ListedLogit> list,
                                const Sampling& sampling, double number) {
  Candidates candidates(summary, list, sampling.temperature);
  filter(candidates, sampling);
  if (!candidates.is_sure()) return std::nullopt;
  return candidates.pick(number);
}

bool may_draw_listed(const Sampling& sampling) {
  if (sampling.top_k > 0) return sampling.top_k < kListedLogits;
  return sampling.top_p < 1 || sampling.min_p > 0;
}

}  // namespace longspan
