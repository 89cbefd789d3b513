// Shares of tenants, against rounds that are walked through turn by turn.
#include "scheduler/tenant_rounds.h"

#include <gmock/gmock.h>

#include <map>
#include <random>

namespace longspan {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kShare = TenantRounds::kShare;

/// `count` requests of a tenant, of ids from `first` on.
std::vector<TenantRequest> requests(const std::string& tenant, RequestId first, int count,
                                    std::int64_t cost) {
  std::vector<TenantRequest> list;
  for (int i = 0; i < count; ++i) list.push_back({first + i, tenant, cost});
  return list;
}

std::vector<TenantRequest> together(std::vector<TenantRequest> list,
                                    const std::vector<TenantRequest>& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

TEST(TenantRoundsTest, OneTenantKeepsItsOrder) {
  const TenantRounds rounds;
  EXPECT_THAT(rounds.order(requests("a", 5, 4, 3 * kShare)), ElementsAre(5, 6, 7, 8));
  EXPECT_TRUE(rounds.order({}).empty());
}

TEST(TenantRoundsTest, WhoFloodsWaitsBehindItself) {
  const TenantRounds rounds;
  const auto list = together(requests("a", 0, 6, kShare / 2), requests("b", 10, 1, kShare / 2));
  EXPECT_THAT(rounds.order(list), ElementsAre(0, 1, 10, 2, 3, 4, 5));
}

TEST(TenantRoundsTest, ALongRequestWaitsAsManyRoundsAsItTakes) {
  const TenantRounds rounds;
  const auto list = together(requests("a", 0, 5, kShare), requests("b", 10, 1, 3 * kShare));
  EXPECT_THAT(rounds.order(list), ElementsAre(0, 1, 2, 10, 3, 4));
}

TEST(TenantRoundsTest, WhoComesIsLastAndWhoHasLeftHasSavedNothing) {
  TenantRounds rounds;
  const auto a = requests("a", 0, 9, kShare), b = requests("b", 10, 9, kShare);
  rounds.enter(a);
  rounds.enter(b);
  for (int i = 0; i < 3; ++i) rounds.charge("a", kShare);  // b was given two shares meanwhile
  EXPECT_EQ(rounds.order(together(a, b)).front(), 10);
  rounds.keep({"a"});
  rounds.enter(b);
  const auto order = rounds.order(together(a, b));
  EXPECT_THAT(std::vector(order.begin(), order.begin() + 3), ElementsAre(10, 0, 11));
  rounds.keep({});
  EXPECT_EQ(rounds.order(b).front(), 10);
}

/// Turn by turn, one share a turn.
std::vector<RequestId> naive_order(const std::vector<TenantRequest>& list) {
  std::vector<std::string> tenants;
  std::map<std::string, std::vector<TenantRequest>> lines;
  std::map<std::string, std::int64_t> left;
  for (const TenantRequest& request : list) {
    if (lines[request.tenant].empty()) tenants.push_back(request.tenant);
    lines[request.tenant].push_back(request);
  }
  std::vector<RequestId> order;
  for (std::size_t turn = 0; order.size() < list.size(); ++turn) {
    const std::string& tenant = tenants[turn % tenants.size()];
    left[tenant] += kShare;
    std::vector<TenantRequest>& line = lines[tenant];
    while (!line.empty() && line.front().cost <= left[tenant]) {
      left[tenant] -= line.front().cost;
      order.push_back(line.front().id);
      line.erase(line.begin());
    }
  }
  return order;
}

TEST(TenantRoundsTest, RandomQueuesAreTakenAsTurnByTurn) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::vector<TenantRequest> list;
    const auto count = 1 + random() % 30;
    for (RequestId id = 0; id < static_cast<RequestId>(count); ++id) {
      const std::int64_t most = random() % 4 == 0 ? 20 * kShare : kShare;
      list.push_back(
          {id, std::string(1, "abcd"[random() % 4]), static_cast<std::int64_t>(random() % most)});
    }
    const std::vector<RequestId> order = naive_order(list);
    EXPECT_EQ(TenantRounds().order(list), order);
    // Who begins in that order, one after the other, leaves the order of the rest as it was.
    TenantRounds rounds;
    for (std::size_t next = 0; next < order.size(); ++next) {
      std::vector<TenantRequest> rest;
      for (const TenantRequest& request : list) {
        const auto place = std::ranges::find(order, request.id) - order.begin();
        if (place >= static_cast<std::ptrdiff_t>(next)) rest.push_back(request);
      }
      rounds.enter(rest);
      ASSERT_EQ(rounds.order(rest), std::vector(order.begin() + next, order.end()));
      const TenantRequest& begins = *std::ranges::find(list, order[next], &TenantRequest::id);
      rounds.charge(begins.tenant, begins.cost);
    }
  }
}

}  // namespace
}  // namespace longspan
