#include "runtime/model/draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

/// The tokens that are left, in order of id, and how near the filters came to leaving others.
class Candidates {
 public:
  Candidates(std::span<const float> logits, double temperature) {
    const double best = largest(logits.data(), std::ssize(logits));
    if (!std::isfinite(best)) return;
    left_.reserve(logits.size());
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (!(logits[id] > -std::numeric_limits<float>::infinity())) continue;
      const double score = (logits[id] - best) / temperature;
      left_.push_back({score, std::exp(score), static_cast<TokenId>(id)});
    }
    add_up();
  }

  /// Those at least as good as the k-th stay, as with transformers: more than k where some are
  /// equal.
  void keep_top_k(std::int64_t k) {
    if (k <= 0 || k >= std::ssize(left_)) return;
    std::vector<Candidate> sorted = left_;
    std::ranges::nth_element(sorted, sorted.begin() + k, Candidate::better);
    const Candidate& first_out = sorted[k];
    const Candidate last_in =
        *std::max_element(sorted.begin(), sorted.begin() + k, Candidate::better);
    std::erase_if(left_, [&](const Candidate& c) { return c.score < last_in.score; });
    add_up();
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
    }
    if (kept == sorted.size()) return;
    if (kept == in_place) sort_more(sorted, in_place);
    const Candidate& first_out = sorted[kept];
    note_gap(sorted[kept - 1].score - first_out.score, first_out);
    std::erase_if(left_, [&](const Candidate& c) { return !Candidate::better(c, first_out); });
    add_up();
  }

  void keep_min_p(double p) {
    if (p <= 0) return;
    const double least = std::log(p);
    for (const Candidate& c : left_) note_gap(std::abs(c.score - least), c);
    std::erase_if(left_, [&](const Candidate& c) { return c.score < least; });
    add_up();
  }

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
  double sum_ = 0;  // of their weights
  double margin_ = 1;
};

}  // namespace

Draw draw(std::span<const float> logits, const Sampling& sampling, double number) {
  Candidates candidates(logits, sampling.temperature);
  candidates.keep_top_k(sampling.top_k);
  candidates.keep_top_p(sampling.top_p);
  candidates.keep_min_p(sampling.min_p);
  return candidates.pick(number);
}

}  // namespace longspan
