// Summaries of logits the obvious way: all of a row sorted, all of it added up.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "runtime/model/logit_summary.h"

namespace longspan::test {

struct PlainSummary {
  LogitSummary summary;
  std::vector<ListedLogit> list;
};

inline PlainSummary summary_of(std::span<const float> row, const LogitWish& wish) {
  PlainSummary plain;
  LogitSummary& summary = plain.summary;
  std::vector<ListedLogit> all;
  bool bad = false;
  for (std::size_t id = 0; id < row.size(); ++id) {
    all.push_back({row[id], static_cast<TokenId>(id)});
    bad = bad || std::isnan(row[id]) || row[id] == INFINITY;
  }
  if (bad) return plain;
  std::ranges::stable_sort(all, std::ranges::greater(), &ListedLogit::logit);
  if (all.front().logit == -INFINITY) return plain;
  summary.is_usable = 1;
  summary.best = all.front().logit;
  summary.best_id = all.front().id;
  for (const float logit : row) {
    const double below = static_cast<double>(logit) - summary.best;
    summary.exp_sum += std::exp(below);
    if (wish.temperature > 0) summary.weight_sum += std::exp(below / wish.temperature);
  }
  if (wish.named >= 0) summary.named_logit = row[wish.named];
  if (!wish.wants_list) return plain;
  all.resize(std::min<std::size_t>(all.size(), kListedLogits));
  plain.list = std::move(all);
  return plain;
}

/// On the host's memory.
class PlainSummaries final : public LogitSummaries {
 public:
  explicit PlainSummaries(int vocabulary) : vocabulary_(vocabulary) {}

  void summarise(Stream& stream, const float* logits, std::vector<LogitWish> wishes) override {
    stream.call([this, logits, wishes = std::move(wishes)] {
      found_.clear();
      for (const LogitWish& wish : wishes) {
        const auto width = static_cast<std::size_t>(vocabulary_);
        found_.push_back(summary_of({logits + wish.row * vocabulary_, width}, wish));
      }
    });
  }
  const LogitSummary& summary(std::size_t wish) const override { return found_[wish].summary; }
  std::span<const ListedLogit> list(std::size_t wish) const override { return found_[wish].list; }

 private:
  int vocabulary_;
  std::vector<PlainSummary> found_;
};

}  // namespace longspan::test
