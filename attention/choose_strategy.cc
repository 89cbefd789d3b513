#include "attention/choose_strategy.h"

#include <algorithm>

#include "attention/strategy_time.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr double kAsGood = 1.02;

bool on_one_host(const SplitSetting& setting) {
  return std::ranges::adjacent_find(setting.hosts, std::not_equal_to()) == setting.hosts.end();
}

}  // namespace

std::string pointless(const PlannedStrategy& plan, const SplitSetting& setting, bool identity) {
  if (plan.strategy == Strategy::kDoubleRing && plan.inner == setting.degree()) {
    return "one host that does not divide: the same as ring";
  }
  if (!passes_keys(plan.strategy) && !identity && setting.degree() > 1) {
    return "pages of this chunk are kept by other ranks than compute them";
  }
  return "";
}

namespace {

/// Two rings inside a host hand streams over more often than one, which no rate says. What they
/// gain, where ranks share a port, is believed if it was seen.
std::string unproven(const PlannedStrategy& plan, const SplitSetting& setting,
                     const MachineRates& rates) {
  if (plan.strategy != Strategy::kDoubleRing || !on_one_host(setting)) return "";
  const bool probed =
      std::ranges::find(rates.probed, plan, &ProbedStrategy::plan) != rates.probed.end();
  return probed ? "" : "one host: no better than ring, as far as is measured";
}

/// One rank's queries visit the others in turn, or all at once: nothing is gained by turns.
std::string outdone(const PlannedStrategy& plan, const StrategyQuestion& question) {
  if (plan.strategy != Strategy::kQueryRing) return "";
  const PlannedStrategy at_once{Strategy::kGatherQuery};
  if (question.planned && !question.planned->contains(at_once)) return "";
  for (const LayerShape& kind : question.layers) {
    const auto& rows = kind.shape.rows;
    if (std::ranges::count_if(rows, [](std::int64_t count) { return count > 0; }) > 1 ||
        staging_bytes(at_once, kind.shape, question.wire()) > question.staging_bytes) {
      return "";
    }
  }
  return "one rank asks: gather-q asks all others at once";
}

}  // namespace

Candidate examine(const PlannedStrategy& plan, const StrategyQuestion& question,
                  const MachineRates& rates) {
  const WireShape wire = question.wire();
  Candidate candidate{.plan = plan,
                      .dropped = pointless(plan, question.setting, question.identity)};
  if (candidate.dropped.empty()) candidate.dropped = unproven(plan, question.setting, rates);
  if (candidate.dropped.empty()) candidate.dropped = outdone(plan, question);
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
  // One launch then has what a ring launches hop by hop, which no rate says.
  if (question.setting.beside_kernels) std::ranges::reverse(preferred);
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
