// What the coordinator says to ranks that compute nothing, and what it makes of their reports.
#include "runtime/engine/coordinator.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "comm/cpu/thread_communicator.h"
#include "comm/error.h"
#include "comm/str.h"
#include "tests/runtime/engine/null_worker.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::chrono::seconds kPatience{10};

/// Lets a test see, and spoil, what a rank does.
class SeenWorker final : public test::NullWorker {
 public:
  using NullWorker::NullWorker;

  void admit(Admission admission) override { admitted.insert(admission.request); }
  StepReport execute(const StepOrder& order, const LayerDone& layer_done) override {
    StepReport report = NullWorker::execute(order, layer_done);
    if (spoil) spoil(report);
    return report;
  }

  std::set<RequestId> admitted;
  std::function<void(StepReport&)> spoil;  // before it is sent
};

/// What the ranks of a job saw.
struct Job {
  std::vector<std::set<RequestId>> admitted;  // by rank
  std::map<RequestId, int> tokens;
  std::string failure;  // of rank 0
};

/// `ranks` ranks in groups of `degree`. `spoil`: of the reports of `spoiler`.
Job run(int ranks, int degree, const std::function<void(Coordinator&)>& drive, int spoiler = -1,
        const std::function<void(StepReport&)>& spoil = nullptr) {
  Job job;
  job.admitted.resize(ranks);
  ThreadWorld world(ranks, kPatience);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        ControlChannel control(world.rank(rank), kPatience);
        SeenWorker worker(rank);
        if (rank == spoiler) worker.spoil = spoil;
        if (rank > 0) {
          follow_coordinator(control, worker);
        } else {
          auto policy = make_policy(PolicyKind::kStaticSp, degree);
          auto groups = options_of_groups(
              *policy, {.page_tokens = 4, .chunk_tokens = 8, .run_steps = 4}, ranks, 100);
          Coordinator coordinator(control, worker, {std::move(policy), std::move(groups)},
                                  {.rates = default_rates("avx2", 1),
                                   .heads = {.query_heads = 2, .kv_heads = 1, .head_dim = 16},
                                   .hosts = std::vector<int>(ranks, 0)},
                                  {.prefill = [](const Progress&) {},
                                   .layer = nullptr,
                                   .token = [&](RequestId id, const Scored&) { ++job.tokens[id]; },
                                   .nll = [](RequestId, double) {}});
          drive(coordinator);
          (void)coordinator.stop();
        }
        job.admitted[rank] = worker.admitted;
      } catch (const std::exception& error) {
        if (rank == 0) job.failure = error.what();
      }
      world.leave(rank);
    });
  }
  threads.clear();  // joins
  return job;
}

void submit(Coordinator& coordinator, RequestId id, std::int64_t prompt, std::int64_t max_new) {
  Admission admission{.request = id, .prompt = std::vector<TokenId>(prompt, 1)};
  EXPECT_TRUE(coordinator.submit(std::move(admission), max_new, false));
}

void run_out(Coordinator& coordinator) {
  while (coordinator.step()) {
  }
}

TEST(CoordinatorTest, OnlyTheRanksOfItsGroupHearOfARequest) {
  const Job job = run(5, 2, [](Coordinator& coordinator) {
    submit(coordinator, 0, 20, 3);
    submit(coordinator, 1, 5, 4);
    submit(coordinator, 2, 6, 5);
    EXPECT_EQ(coordinator.schedule().group_of(2), 1);
    run_out(coordinator);
    EXPECT_EQ(coordinator.steps(), 5 + 6);
  });
  EXPECT_EQ(job.failure, "");
  EXPECT_THAT(job.tokens, ElementsAre(std::pair(0, 3), std::pair(1, 4), std::pair(2, 5)));
  using Ids = std::set<RequestId>;
  EXPECT_THAT(job.admitted, ElementsAre(Ids{0}, Ids{0}, Ids{1, 2}, Ids{1, 2}, Ids{}));
}

/// Rank 3 is of the second group, rank 0 of the first.
TEST(CoordinatorTest, AReportOfAnotherEpochOrOfOtherPagesEndsTheJob) {
  const auto two = [](Coordinator& coordinator) {
    submit(coordinator, 0, 20, 3);
    submit(coordinator, 1, 20, 3);
    run_out(coordinator);
  };
  for (const int rank : {0, 3}) {
    const auto late = [](StepReport& report) { report.epoch += report.epoch == 2; };
    EXPECT_THAT(run(4, 2, two, rank, late).failure, HasSubstr("reported step 3 while step 2 ran"));
    const auto more = [](StepReport& report) { report.kv_pages += report.epoch == 2; };
    EXPECT_THAT(run(4, 2, two, rank, more).failure, HasSubstr("pages of KV in use after step 2"));
  }
}

// Steps 4 to 7 are of one plan: what a rank says that does not sample is heard at its end.
TEST(CoordinatorTest, InARunTheyEndItTooAtItsEndAtTheLatest) {
  const auto two = [](Coordinator& coordinator) {
    submit(coordinator, 0, 20, 20);
    submit(coordinator, 1, 20, 20);
    run_out(coordinator);
  };
  for (const int rank : {0, 1, 2, 3}) {
    const auto late = [](StepReport& report) { report.epoch += report.epoch >= 5; };
    EXPECT_THAT(run(4, 2, two, rank, late).failure, HasSubstr(str("rank {} reported step", rank)));
    const auto more = [](StepReport& report) { report.kv_pages += report.epoch >= 5; };
    EXPECT_THAT(run(4, 2, two, rank, more).failure, HasSubstr("pages of KV in use after step 7"));
    const auto fail = [](StepReport& report) {
      if (report.epoch == 5) throw Error(ExitCode::kInternal, "a rank has had enough");
    };
    EXPECT_THAT(run(4, 2, two, rank, fail).failure,
                HasSubstr(rank == 0 ? "had enough" : "has left"))
        << rank;
  }
}

// 40 tokens behind 8: a chunk samples the first, and 39 positions are on ten pages.
TEST(CoordinatorTest, AnAnswerCostsAPlanForEachOfItsPages) {
  for (const auto& [ranks, degree] :
       {std::pair{1, 1}, {2, 2}, {3, 3}, {2, 1}, {4, 2}, {6, 3}, {6, 2}}) {
    for (const int requests : {1, 2, 7}) {
      const int groups = std::min(ranks / degree, requests);
      const Job job = run(ranks, degree, [&](Coordinator& coordinator) {
        for (int id = 0; id < requests; ++id) submit(coordinator, id, 8, 40);
        run_out(coordinator);
        EXPECT_GE(coordinator.steps(), groups * 40);
        EXPECT_LE(coordinator.plans(), requests * (1 + 10)) << "and no more than without others";
        EXPECT_LE(coordinator.plans(), coordinator.steps() - 29 * groups);
      });
      EXPECT_EQ(job.failure, "");
      for (const auto& [id, tokens] : job.tokens) EXPECT_EQ(tokens, 40);
      EXPECT_EQ(std::ssize(job.tokens), requests);
    }
  }
}

TEST(CoordinatorTest, WhoComesOrLeavesIsHeardInTheMiddleOfARun) {
  for (const auto& [ranks, degree] : {std::pair{1, 1}, {3, 3}, {4, 2}}) {
    const Job job = run(ranks, degree, [&](Coordinator& coordinator) {
      const auto done = [&] { return coordinator.steps(); };
      for (RequestId id = 0; id < 4; ++id) submit(coordinator, id, 3, 60);
      while (done() < 21) EXPECT_TRUE(coordinator.step());
      submit(coordinator, 4, 3, 5);
      coordinator.make_way_for(1);
      while (!coordinator.is_between_steps(1)) EXPECT_TRUE(coordinator.step());
      coordinator.forget(1);
      const std::int64_t then = done();
      run_out(coordinator);
      EXPECT_GT(done(), then + 30) << "the others go on";
    });
    EXPECT_EQ(job.failure, "");
    EXPECT_EQ(job.tokens.at(4), 5);
    for (RequestId id : {0, 2, 3}) EXPECT_EQ(job.tokens.at(id), 60);
    EXPECT_LT(job.tokens.at(1), 40);
  }
}

// The second step of a run of four is under way when it is to end. Where rank 0 leads it is the
// last; another leader has said by then that there is one more.
TEST(CoordinatorTest, NoStepOfARunBeginsButThoseThatMayHaveBegun) {
  for (const auto& [degree, rank, last] :
       {std::tuple{1, 0, 3}, {1, 1, 4}, {2, 0, 3}, {2, 2, 4}, {2, 3, 4}}) {
    std::promise<void> reached, opened;
    std::atomic<std::uint64_t> epoch = 0;
    std::atomic<Coordinator*> listening = nullptr;
    const auto hold_up = [&, open = opened.get_future().share()](StepReport& report) {
      epoch = report.epoch;
      if (report.epoch != 3) return;
      reached.set_value();
      listening.load()->wake();
      open.wait_for(kPatience);
    };
    const RequestId held = rank < degree ? 0 : 1;
    const auto drive = [&](Coordinator& coordinator) {
      listening = &coordinator;
      submit(coordinator, 0, 7, 60);
      submit(coordinator, 1, 7, 60);
      auto is_reached = reached.get_future();
      while (is_reached.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        EXPECT_TRUE(coordinator.step());
      }
      coordinator.make_way_for(held);
      opened.set_value();
      while (!coordinator.is_between_steps(held)) EXPECT_TRUE(coordinator.step());
      EXPECT_LE(epoch, last) << rank << " of groups of " << degree;
      run_out(coordinator);
    };
    EXPECT_EQ(run(2 * degree, degree, drive, rank, hold_up).failure, "");
  }
}

TEST(CoordinatorTest, AJobMayEndInTheMiddleOfRuns) {
  for (const auto& [ranks, degree] : {std::pair{1, 1}, {3, 3}, {4, 2}}) {
    for (const int steps : {1, 2, 3, 4, 5, 9}) {
      const Job job = run(ranks, degree, [&](Coordinator& coordinator) {
        for (RequestId id = 0; id < 3; ++id) submit(coordinator, id, 3, 60);
        while (coordinator.steps() < steps) EXPECT_TRUE(coordinator.step());
      });
      EXPECT_EQ(job.failure, "");
    }
  }
}

TEST(CoordinatorTest, ARankThatFailsEndsTheJobWhateverGroupItIsOf) {
  for (const int rank : {0, 1, 3}) {
    const auto fail = [](StepReport& report) {
      if (report.epoch == 2) throw Error(ExitCode::kInternal, "a rank has had enough");
    };
    const Job job = run(
        4, 2,
        [](Coordinator& coordinator) {
          submit(coordinator, 0, 20, 30);
          submit(coordinator, 1, 20, 30);
          run_out(coordinator);
        },
        rank, fail);
    EXPECT_THAT(job.failure, HasSubstr(rank == 0 ? "had enough" : "has left")) << rank;
  }
}

}  // namespace
}  // namespace longspan
