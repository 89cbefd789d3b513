#include "runtime/engine/messages.h"

#include <gmock/gmock.h>

#include "comm/error.h"
#include "runtime/engine/session_messages.h"

namespace longspan {
namespace {

using testing::ElementsAre;

StepOrder an_order() {
  StepPlan plan{.epoch = 9, .group = {0, 2}, .preempted = {8, 3}, .finished = {4}};
  plan.moves.push_back({.request = 6, .page = 1, .to = {.owner = 2, .slot = 8, .generation = 3}});
  plan.forks = {{.from = 5, .to = 6, .owners = {2, 0}}, {.from = 5, .to = 7, .owners = {}}};
  plan.owners = {{.request = 5, .first = 7, .owners = {2, 0, 1}}, {.request = 8, .owners = {1}}};
  plan.grants.push_back({.request = 5,
                         .page = 7,
                         .at = {.owner = 2, .slot = 9, .generation = 4},
                         .filled = false,
                         .copied = 3});
  plan.spills.push_back({.from = {0, 1, 2}, .to = {0, 3, 4}});
  plan.fetches.push_back(
      {.request = 5, .page = 7, .at = {2, 9, 4}, .from = {2, 6, 1}, .sent = true});
  plan.prefill.push_back({.request = 5,
                          .group = {2, 0},
                          .holders = 1,
                          .first = 32,
                          .count = 17,
                          .layout = DealtBy::kZigzag,
                          .block = 8,
                          .samples = true,
                          .wants_nll = true,
                          .forks = {6, 7}});
  plan.decode.push_back({.request = 6, .position = 3, .token = 11, .master = 2});
  plan.run = {.steps = 12,
              .until_one_ends = true,
              .rows = {{.left = 30, .stops = {2, 7}, .page_end = 16, .next_master = 1}}};
  return {plan, {Strategy::kGatherQuery}, DecodeStrategy::kTree, 2};
}

TEST(MessagesTest, AnOrderSurvivesTheWire) {
  const StepOrder order = read_order(to_message(an_order()));
  EXPECT_THAT(order.strategies, ElementsAre(Strategy::kGatherQuery));
  EXPECT_EQ(order.decode_strategy, DecodeStrategy::kTree);
  const StepPlan& plan = order.plan;
  EXPECT_EQ(plan.epoch, 9u);
  EXPECT_THAT(plan.group, ElementsAre(0, 2));
  EXPECT_THAT(plan.preempted, ElementsAre(8, 3));
  EXPECT_THAT(plan.finished, ElementsAre(4));
  ASSERT_EQ(plan.moves.size(), 1u);
  EXPECT_EQ(plan.moves[0].page, 1);
  EXPECT_EQ(plan.moves[0].to, (PageRef{2, 8, 3}));
  ASSERT_EQ(plan.owners.size(), 2u);
  EXPECT_EQ(plan.owners[0].request, 5);
  EXPECT_EQ(plan.owners[0].first, 7);
  EXPECT_THAT(plan.owners[0].owners, ElementsAre(2, 0, 1));
  EXPECT_EQ(plan.owners[1].request, 8);
  EXPECT_EQ(plan.owners[1].first, 0);
  ASSERT_EQ(plan.grants.size(), 1u);
  EXPECT_EQ(plan.grants[0].request, 5);
  EXPECT_EQ(plan.grants[0].page, 7);
  EXPECT_EQ(plan.grants[0].at, (PageRef{2, 9, 4}));
  EXPECT_EQ(plan.grants[0].copied, 3);
  EXPECT_THAT(plan.spills, ElementsAre(SpilledPage{{0, 1, 2}, {0, 3, 4}}));
  ASSERT_EQ(plan.fetches.size(), 1u);
  EXPECT_EQ(plan.fetches[0].request, 5);
  EXPECT_EQ(plan.fetches[0].page, 7);
  EXPECT_EQ(plan.fetches[0].at, (PageRef{2, 9, 4}));
  EXPECT_EQ(plan.fetches[0].from, (PageRef{2, 6, 1}));
  EXPECT_TRUE(plan.fetches[0].sent);
  ASSERT_EQ(plan.forks.size(), 2u);
  EXPECT_EQ(plan.forks[0].from, 5);
  EXPECT_EQ(plan.forks[1].to, 7);
  EXPECT_EQ(plan.forks[0].owners, (std::vector<int>{2, 0}));
  ASSERT_EQ(plan.prefill.size(), 1u);
  EXPECT_EQ(plan.prefill[0].request, 5);
  EXPECT_THAT(plan.prefill[0].group, ElementsAre(2, 0));
  EXPECT_EQ(plan.prefill[0].first, 32);
  EXPECT_EQ(plan.prefill[0].count, 17);
  EXPECT_EQ(plan.prefill[0].layout, DealtBy::kZigzag);
  EXPECT_EQ(plan.prefill[0].block, 8);
  EXPECT_EQ(plan.prefill[0].holders, 1);
  EXPECT_TRUE(plan.prefill[0].samples);
  EXPECT_TRUE(plan.prefill[0].wants_nll);
  EXPECT_EQ(plan.prefill[0].forks, (std::vector<RequestId>{6, 7}));
  ASSERT_EQ(plan.decode.size(), 1u);
  EXPECT_EQ(plan.decode[0].request, 6);
  EXPECT_EQ(plan.decode[0].position, 3);
  EXPECT_EQ(plan.decode[0].token, 11);
  EXPECT_EQ(plan.decode[0].master, 2);
  EXPECT_EQ(order.leader, 2);
  EXPECT_EQ(plan.run.steps, 12);
  EXPECT_TRUE(plan.run.until_one_ends);
  ASSERT_EQ(plan.run.rows.size(), 1u);
  EXPECT_EQ(plan.run.rows[0].left, 30);
  EXPECT_THAT(plan.run.rows[0].stops, ElementsAre(2, 7));
  EXPECT_EQ(plan.run.rows[0].page_end, 16);
  EXPECT_EQ(plan.run.rows[0].next_master, 1);
}

TEST(MessagesTest, PagesToBeSentSurviveTheWire) {
  const std::vector<PageSend> pages{{.from = {0, 3, 9}, .to = 4}, {.from = {1, 8, 2}, .to = 3}};
  EXPECT_EQ(read_page_sends(to_message(pages)), pages);
}

TEST(MessagesTest, AReportSurvivesTheWire) {
  StepReport sent{.epoch = 3, .kv_pages = 40};
  sent.rows.push_back({8, {{5, -0.25}, {{5, -0.25}, {6, -2.0}}, 0.125}});
  sent.rows.push_back({9, {{1, -0.5}, {}}});
  sent.nll.push_back({8, 12.5});
  sent.tier.fetched.push_back({.at = {1, 2, 3}, .good = true, .took = 40});
  sent.tier.lost.push_back({1, 5, 6});
  const StepReport report = read_report(to_message(sent));
  EXPECT_EQ(report.epoch, 3u);
  EXPECT_EQ(report.kv_pages, 40);
  ASSERT_EQ(report.rows.size(), 2u);
  EXPECT_EQ(report.rows[0].request, 8);
  EXPECT_EQ(report.rows[0].scored.chosen, (TokenScore{5, -0.25}));
  EXPECT_THAT(report.rows[0].scored.top, ElementsAre(TokenScore{5, -0.25}, TokenScore{6, -2.0}));
  EXPECT_EQ(report.rows[0].scored.margin, 0.125);
  EXPECT_TRUE(report.rows[1].scored.top.empty());
  ASSERT_EQ(report.nll.size(), 1u);
  EXPECT_EQ(report.nll[0].sum, 12.5);
  ASSERT_EQ(report.tier.fetched.size(), 1u);
  EXPECT_EQ(report.tier.fetched[0].at, (PageRef{1, 2, 3}));
  EXPECT_TRUE(report.tier.fetched[0].good);
  EXPECT_EQ(report.tier.fetched[0].took, 40);
  EXPECT_THAT(report.tier.lost, ElementsAre(PageRef{1, 5, 6}));
}

TEST(MessagesTest, WhatIsSaidOfARunSurvivesTheWire) {
  RunReport sent{.over = true};
  sent.reports.push_back({3, {.epoch = 7, .kv_pages = 4, .rows = {{8, {{5, -0.25}, {}}}}}});
  sent.reports.push_back({1, {.epoch = 7, .kv_pages = 6}});
  const Message whole = to_message(sent);
  const RunReport report = read_run_report(whole);
  EXPECT_TRUE(report.over);
  ASSERT_EQ(report.reports.size(), 2u);
  EXPECT_EQ(report.reports[0].rank, 3);
  ASSERT_EQ(report.reports[0].report.rows.size(), 1u);
  EXPECT_EQ(report.reports[0].report.rows[0].scored.chosen, (TokenScore{5, -0.25}));
  EXPECT_EQ(report.reports[1].rank, 1);
  EXPECT_EQ(report.reports[1].report.epoch, 7u);
  EXPECT_EQ(report.reports[1].report.kv_pages, 6);
  for (std::size_t length = 0; length < whole.payload.size(); ++length) {
    Message cut = whole;
    cut.payload.resize(length);
    EXPECT_THROW(read_run_report(cut), CommError) << length;
  }
  for (const bool ends : {true, false}) EXPECT_EQ(read_run_word(run_word(ends)), ends);
  EXPECT_THROW(read_run_word(run_end()), CommError);
}

TEST(MessagesTest, AdmissionsAndSummariesSurviveTheWire) {
  const Admission admission =
      read_admission(to_message(Admission{.request = 1,
                                          .prompt = {3, 4},
                                          .forced = {},
                                          .written = {7},
                                          .top = 5,
                                          .sampling = {.temperature = 0.5,
                                                       .top_k = 40,
                                                       .top_p = 0.75,
                                                       .min_p = 0.25,
                                                       .repetition_penalty = 1.5,
                                                       .presence_penalty = -1,
                                                       .frequency_penalty = 2,
                                                       .bias = {{7, -3}},
                                                       .min_tokens = 9,
                                                       .stops = {2, 8},
                                                       .seed = -6,
                                                       .choice = 3}}));
  EXPECT_THAT(admission.prompt, ElementsAre(3, 4));
  EXPECT_TRUE(admission.forced.empty());
  EXPECT_EQ(admission.to_read(), 3);
  EXPECT_EQ(admission.token_at(1), 4);
  EXPECT_EQ(admission.token_at(2), 7);
  EXPECT_EQ(admission.top, 5);
  const Sampling& sampling = admission.sampling;
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.top_p, 0.75);
  EXPECT_EQ(sampling.min_p, 0.25);
  EXPECT_EQ(sampling.repetition_penalty, 1.5);
  EXPECT_EQ(sampling.presence_penalty, -1);
  EXPECT_EQ(sampling.frequency_penalty, 2);
  ASSERT_EQ(sampling.bias.size(), 1u);
  EXPECT_EQ(sampling.bias[0].id, 7);
  EXPECT_EQ(sampling.bias[0].bias, -3);
  EXPECT_EQ(sampling.min_tokens, 9);
  EXPECT_THAT(sampling.stops, ElementsAre(2, 8));
  EXPECT_EQ(sampling.seed, -6);
  EXPECT_EQ(sampling.choice, 3u);
  const RankSummary summary = read_summary(to_message(RankSummary{
      .rank = 2, .host = "node1", .device = "cpu", .kv_pages_used = 3, .sent_bytes = 99}));
  EXPECT_EQ(summary.rank, 2);
  EXPECT_EQ(summary.host, "node1");
  EXPECT_EQ(summary.device, "cpu");
  EXPECT_EQ(summary.kv_pages_used, 3);
  EXPECT_EQ(summary.sent_bytes, 99u);
}

TEST(MessagesTest, AMessageCutAnywhereIsRefused) {
  const Message whole = to_message(an_order());
  for (std::size_t length = 0; length < whole.payload.size(); ++length) {
    Message cut = whole;
    cut.payload.resize(length);
    EXPECT_THROW(read_order(cut), CommError) << length;
  }
}

TEST(MessagesTest, AMessageOfAnotherTypeIsRefused) {
  EXPECT_THROW(read_report(to_message(an_order())), CommError);
}

TEST(MessagesTest, OrdersAndReportsOfSessionsSurviveTheWire) {
  const SavePages save = read_save_pages(to_message(SavePages{4, "a.session", 77, 35, 3}));
  EXPECT_EQ(save.request, 4);
  EXPECT_EQ(save.session, "a.session");
  EXPECT_EQ(save.generation, 77u);
  EXPECT_EQ(save.computed, 35);
  EXPECT_EQ(save.kv_heads, 3);
  const Message whole =
      to_message(RestorePages{5, "b", 78, {1, 0}, {0, 1, 0}, {{0, 4, 9}, {1, 2, 3}}, {2, 3}});
  const RestorePages restore = read_restore_pages(whole);
  EXPECT_EQ(restore.request, 5);
  EXPECT_EQ(restore.session, "b");
  EXPECT_EQ(restore.generation, 78u);
  EXPECT_THAT(restore.group, ElementsAre(1, 0));
  EXPECT_THAT(restore.owners, ElementsAre(0, 1, 0));
  EXPECT_THAT(restore.pages, ElementsAre(PageRef{0, 4, 9}, PageRef{1, 2, 3}));
  EXPECT_THAT(restore.finished, ElementsAre(2, 3));
  for (std::size_t length = 0; length < whole.payload.size(); ++length) {
    Message cut = whole;
    cut.payload.resize(length);
    EXPECT_THROW(read_restore_pages(cut), CommError) << length;
  }
  const PagesReport none = read_pages_report(to_message(PagesReport{}));
  EXPECT_FALSE(none.failure || none.part);
  const PagesReport failed =
      read_pages_report(to_message(PagesReport{.failure = Failure{ExitCode::kIo, "full"}}));
  ASSERT_TRUE(failed.failure);
  EXPECT_EQ(failed.failure->code, ExitCode::kIo);
  EXPECT_EQ(failed.failure->message, "full");
  const PagesReport wrote = read_pages_report(
      to_message(PagesReport{.part = SessionPart{.rank = 2, .heads = {1, 2}, .pages = {{8, 9}}}}));
  ASSERT_TRUE(wrote.part);
  EXPECT_EQ(wrote.part->rank, 2);
  EXPECT_EQ(wrote.part->heads, (Slice{1, 2}));
  ASSERT_EQ(wrote.part->pages.size(), 1u);
  EXPECT_EQ(wrote.part->pages[0].number, 8);
  EXPECT_EQ(wrote.part->pages[0].crc, 9u);
}

}  // namespace
}  // namespace longspan
