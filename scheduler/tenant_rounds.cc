#include "scheduler/tenant_rounds.h"

#include <algorithm>
#include <limits>
#include <map>

namespace longspan {
namespace {

/// Shares that are `tokens` or more.
std::int64_t shares_for(std::int64_t tokens) {
  return std::max<std::int64_t>(0, tokens + TenantRounds::kShare - 1) / TenantRounds::kShare;
}

}  // namespace

/// Behind who had the turn last: the end of the round.
void TenantRounds::enter(const std::vector<TenantRequest>& requests) {
  for (const TenantRequest& request : requests) {
    if (std::ranges::count(round_, request.tenant, &Account::tenant) > 0) continue;
    const bool first = round_.empty();
    round_.insert(round_.begin() + static_cast<std::ptrdiff_t>(turn_),
                  {request.tenant, first ? kShare : 0});
    if (!first) ++turn_;
  }
}

void TenantRounds::next_turn() {
  turn_ = (turn_ + 1) % round_.size();
  round_[turn_].left += kShare;
}

void TenantRounds::add_rounds(std::int64_t count) {
  for (Account& account : round_) account.left += count * kShare;
}

void TenantRounds::leave(std::size_t account) {
  round_.erase(round_.begin() + static_cast<std::ptrdiff_t>(account));
  const bool had_turn = account == turn_;
  if (account < turn_) --turn_;
  if (!had_turn || round_.empty()) return;
  turn_ %= round_.size();
  round_[turn_].left += kShare;
}

TenantRounds::Lines TenantRounds::lines_of(const std::vector<TenantRequest>& requests) const {
  std::map<std::string, std::size_t> place;
  for (const Account& account : round_) place.emplace(account.tenant, place.size());
  Lines lines(round_.size());
  for (const TenantRequest& request : requests) {
    lines[place.at(request.tenant)].push_back(&request);
  }
  return lines;
}

/// A round in which nobody has enough is not walked through: as many are given at once as the first
/// one that will needs.
std::vector<RequestId> TenantRounds::order(const std::vector<TenantRequest>& requests) const {
  TenantRounds rounds = *this;
  rounds.enter(requests);
  Lines lines = rounds.lines_of(requests);
  std::vector<RequestId> order;
  std::size_t idle_turns = 0;
  while (order.size() < requests.size()) {
    Account& account = rounds.round_[rounds.turn_];
    std::deque<const TenantRequest*>& line = lines[rounds.turn_];
    const std::size_t before = order.size();
    for (; !line.empty() && line.front()->cost <= account.left; line.pop_front()) {
      account.left -= line.front()->cost;
      order.push_back(line.front()->id);
    }
    idle_turns = order.size() > before ? 0 : idle_turns + 1;
    if (order.size() == requests.size()) break;
    if (idle_turns > lines.size()) {
      std::int64_t fewest = std::numeric_limits<std::int64_t>::max();
      for (std::size_t i = 0; i < lines.size(); ++i) {
        if (lines[i].empty()) continue;
        fewest = std::min(fewest, shares_for(lines[i].front()->cost - rounds.round_[i].left));
      }
      rounds.add_rounds(fewest - 1);
      idle_turns = 0;
    }
    rounds.next_turn();
  }
  return order;
}

/// Others are given as much meanwhile.
void TenantRounds::charge(const std::string& tenant, std::int64_t cost) {
  const auto paying = std::ranges::find(round_, tenant, &Account::tenant);
  if (paying == round_.end() || cost == 0) return;
  while (turn_ != static_cast<std::size_t>(paying - round_.begin())) next_turn();
  add_rounds(shares_for(cost - paying->left));
  paying->left -= cost;
}

void TenantRounds::keep(const std::set<std::string>& waiting) {
  for (std::size_t i = round_.size(); i-- > 0;) {
    if (!waiting.contains(round_[i].tenant)) leave(i);
  }
}

}  // namespace longspan
