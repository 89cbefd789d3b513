#include "attention/choose_strategy.h"

#include <algorithm>

#include "attention/strategy_time.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr double kAsGood = 1.02;

}  // namespace

std::string pointless(Strategy strategy, const SplitSetting& setting, bool identity) {
  const std::vector<int>& hosts = setting.hosts;
  const bool one_host = std::ranges::adjacent_find(hosts, std::not_equal_to()) == hosts.end();
  if (strategy == Strategy::kDoubleRing && one_host) return "one host: no better than ring";
  if (!passes_keys(strategy) && !identity && hosts.size() > 1) {
    return "pages of this chunk are kept by other ranks than compute them";
  }
  return "";
}

Candidate examine(const PlannedStrategy& plan, const StrategyQuestion& question,
                  const MachineRates& rates) {
  const WireShape wire = question.wire();
  Candidate candidate{.plan = plan,
                      .dropped = pointless(plan.strategy, question.setting, question.identity)};
  int layers = 0;
  for (const LayerShape& kind : question.layers) {
    candidate.staging_bytes =
        std::max(candidate.staging_bytes, staging_bytes(plan, kind.shape, wire));
    candidate.seconds +=
        kind.layers * predicted_seconds(plan, kind.shape, wire, question.setting.hosts, rates);
    layers += kind.layers;
  }
  candidate.seconds /= layers;
  if (question.planned && !question.planned->contains(plan)) {
    candidate.dropped = "no memory is planned for it";
  }
  if (candidate.dropped.empty() && candidate.staging_bytes > question.staging_bytes) {
    candidate.dropped =
        str("needs {} of staging, {} are left", human_bytes(candidate.staging_bytes),
            human_bytes(question.staging_bytes));
  }
  return candidate;
}

namespace {

std::vector<Candidate> candidates_for(const StrategyQuestion& question, const MachineRates& rates) {
  std::vector<Candidate> candidates;
  for (Strategy strategy : kStrategies) {
    for (const PlannedStrategy& plan : usable_plans(strategy, question.setting)) {
      candidates.push_back(examine(plan, question, rates));
    }
    if (const auto why = refusal(strategy, question.setting)) {
      candidates.push_back({.plan = {strategy, 1}, .dropped = *why});
    }
  }
  return candidates;
}

void decide(StrategyChoice& choice, const Candidate& winner, std::string reason) {
  choice.plan = winner.plan;
  choice.seconds = winner.seconds;
  choice.reason = std::move(reason);
}

}  // namespace

StrategyChoice choose_strategy(const StrategyQuestion& question, const MachineRates& rates) {
  expects(!question.layers.empty(), "a model has a layer");
  for (const LayerShape& kind : question.layers) {
    expects(kind.layers >= 1, "every mask is that of a layer");
    expects(kind.shape.size() == question.setting.degree(), "one group in shape and setting");
  }
  StrategyChoice choice{.candidates = candidates_for(question, rates)};

  std::vector<const Candidate*> left;
  for (const Candidate& candidate : choice.candidates) {
    if (candidate.dropped.empty()) left.push_back(&candidate);
  }
  if (left.empty()) {
    std::vector<const Candidate*> passing;
    for (const Candidate& candidate : choice.candidates) {
      const Strategy strategy = candidate.plan.strategy;
      if (strategy == Strategy::kRing || strategy == Strategy::kAllGather) {
        passing.push_back(&candidate);
      }
    }
    decide(choice, **std::ranges::min_element(passing, {}, &Candidate::staging_bytes),
           "nothing fits the staging memory; this needs least");
    return choice;
  }

  const Candidate& best = **std::ranges::min_element(left, {}, &Candidate::seconds);
  const auto among_the_best = [&](const PlannedStrategy& plan) -> const Candidate* {
    const auto found = std::ranges::find(left, plan, &Candidate::plan);
    return found != left.end() && (*found)->seconds <= kAsGood * best.seconds ? *found : nullptr;
  };
  std::vector<PlannedStrategy> preferred{{Strategy::kRing, 1}, {Strategy::kAllGather, 1}};
  if (question.previous) preferred.insert(preferred.begin(), *question.previous);
  for (const PlannedStrategy& plan : preferred) {
    const Candidate* good = among_the_best(plan);
    if (good == nullptr) continue;
    const bool stays = question.previous == plan;
    decide(choice, *good,
           good == &best ? "smallest predicted time"
           : stays       ? "within 2 % of the best, and used before"
                         : "within 2 % of the best, and simpler");
    return choice;
  }
  decide(choice, best, "smallest predicted time");
  return choice;
}

std::string describe(const StrategyChoice& choice, int degree) {
  std::string line = str("{}: {:.3f} ms a layer predicted, {};", describe(choice.plan, degree),
                         choice.seconds * 1e3, choice.reason);
  for (const Candidate& candidate : choice.candidates) {
    if (candidate.plan == choice.plan) continue;
    line += candidate.dropped.empty()
                ? str(" {} {:.3f} ms;", describe(candidate.plan, degree), candidate.seconds * 1e3)
                : str(" not {}: {};", name(candidate.plan.strategy), candidate.dropped);
  }
  line.pop_back();
  return line;
}

}  // namespace longspan
