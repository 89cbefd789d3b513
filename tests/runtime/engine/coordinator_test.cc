// What the coordinator says to ranks that compute nothing, and what it makes of their reports.
#include "runtime/engine/coordinator.h"

#include <gmock/gmock.h>

#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/cpu/thread_communicator.h"
#include "comm/error.h"
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
          auto groups =
              options_of_groups(*policy, {.page_tokens = 4, .chunk_tokens = 8}, ranks, 100);
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
