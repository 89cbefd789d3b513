#include "tests/runtime/engine/elastic_requests.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "comm/collective.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan::test {
namespace {

constexpr int kRanks = 4;
constexpr int kRunning = 12;
constexpr std::int64_t kMaxNew = 12;
constexpr double kDoubt = 1e-4;  // nat
constexpr double kNoise = 2e-3;  // of a log-probability

struct Wanted {
  Admission admission;
  std::int64_t max_new = 1;
  std::optional<RequestId> like;
  std::vector<TokenId> second_turn;  // if any: the prompt that a conversation goes on with
  bool aborted = false;              // at any time
  std::int64_t room() const {
    if (second_turn.empty()) return 0;
    return std::max(std::ssize(admission.prompt), std::ssize(second_turn)) + max_new;
  }
};

class RequestDraw {
 public:
  explicit RequestDraw(const ElasticSize& size) : size_(size), random_(size.seed) {}

  std::vector<Wanted> all() {
    std::vector<Wanted> list;
    for (RequestId id = 0; id < size_.requests; ++id) list.push_back(one(list));
    return list;
  }

 private:
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }

  std::int64_t length() {
    const double share = static_cast<double>(below(1 << 20)) / (1 << 20);
    return static_cast<std::int64_t>(
        std::exp(share * std::log(static_cast<double>(size_.longest_prompt) + 1)));
  }

  std::vector<TokenId> tokens(std::int64_t count) {
    std::vector<TokenId> list(count);
    for (TokenId& token : list) token = static_cast<TokenId>(below(256));
    return list;
  }

  Wanted one(const std::vector<Wanted>& before) {
    const auto id = static_cast<RequestId>(before.size());
    if (!before.empty() && before.back().second_turn.empty() && below(5) == 0) {
      return fork_of(before.back(), id);
    }
    Wanted wanted{.max_new = 1 + below(kMaxNew), .aborted = below(12) == 0};
    wanted.admission = {.request = id, .prompt = tokens(length()), .top = 2};
    if (!before.empty() && below(3) == 0) begin_as(before[below(std::ssize(before))], wanted);
    if (below(3) == 0) draw_answers(wanted.admission.sampling, id);
    if (below(10) == 0) go_on(wanted);
    return wanted;
  }

  Wanted fork_of(const Wanted& parent, RequestId id) {
    Wanted fork = parent;
    fork.like = parent.like.value_or(parent.admission.request);
    fork.admission.request = id;
    fork.aborted = below(12) == 0;
    draw_answers(fork.admission.sampling, id);
    return fork;
  }

  void begin_as(const Wanted& other, Wanted& wanted) {
    const std::vector<TokenId>& from = other.admission.prompt;
    std::vector<TokenId>& prompt = wanted.admission.prompt;
    const std::int64_t count = std::min(std::ssize(prompt), 1 + below(std::ssize(from)));
    std::copy_n(from.begin(), std::min(count, std::ssize(from)), prompt.begin());
  }

  void draw_answers(Sampling& sampling, RequestId id) {
    sampling.temperature = 1;
    sampling.presence_penalty = 0.5;
    sampling.seed = 7 + id;
  }

  /// From somewhere in the first prompt.
  void go_on(Wanted& wanted) {
    const std::vector<TokenId>& first = wanted.admission.prompt;
    wanted.second_turn.assign(first.begin(), first.begin() + below(std::ssize(first) + 1));
    const std::vector<TokenId> more = tokens(length());
    wanted.second_turn.insert(wanted.second_turn.end(), more.begin(), more.end());
    wanted.second_turn.resize(std::min(std::ssize(wanted.second_turn),
                                       static_cast<std::ptrdiff_t>(size_.longest_prompt)));
  }

  ElasticSize size_;
  std::mt19937_64 random_;
};

struct Answers {
  std::map<RequestId, std::vector<Scored>> tokens;  // of both turns
  std::set<RequestId> aborted;                      // before their end
  bool are_here = false;                            // on rank 0, which may be another process
  ElasticCounts changes;
};

/// Submits requests as long as some are wanted, and has those that go on do so.
class Drive {
 public:
  Drive(const std::vector<Wanted>& list, std::uint64_t seed, Answers& answers)
      : list_(list), random_(seed), answers_(answers) {}

  Coordinator::Listener listener() {
    return {.prefill = [](const Progress&) {},
            .layer = nullptr,
            .token = [this](RequestId id,
                            const Scored& token) { answers_.tokens[id].push_back(token); },
            .nll = [](RequestId, double) {},
            .finished = [this](RequestId id) { ended_.push_back(id); }};
  }

  /// Those of one prompt come together, some others while the first are answered.
  void run(Coordinator& coordinator, bool aborts) {
    std::size_t next = 0;
    do {
      while (next < list_.size() && (list_[next].like || random_() % 3 > 0)) {
        submit(coordinator, list_[next++]);
      }
      go_on(coordinator);
      if (aborts) abort_some(coordinator);
    } while (coordinator.step() || next < list_.size() || !ended_.empty());
    const PageCounts& pages = coordinator.schedule().planner(0).ledger().counts();
    EXPECT_EQ(pages.in_use(), pages.at(PageState::kCached)) << "pages have leaked";
    answers_.changes = coordinator.schedule().planner(0).elastic_counts();
  }

 private:
  void submit(Coordinator& coordinator, const Wanted& wanted) {
    const bool fits = coordinator.submit(wanted.admission, wanted.max_new, false, wanted.room(),
                                         {.like = wanted.like, .cache_salt = ""});
    expects(fits, "memory was planned for the longest request");
    under_way_.insert(wanted.admission.request);
  }

  /// Of those that ended with the last step.
  void go_on(Coordinator& coordinator) {
    for (const RequestId id : std::exchange(ended_, {})) {
      const Wanted& wanted = list_[id];
      if (!wanted.second_turn.empty() && coordinator.holds(id) && turned_.insert(id).second) {
        Admission turn = wanted.admission;
        turn.prompt = wanted.second_turn;
        expects(coordinator.extend(std::move(turn), wanted.max_new).has_value(), "it has room");
        continue;
      }
      coordinator.forget(id);
      under_way_.erase(id);
    }
  }

  void abort_some(Coordinator& coordinator) {
    for (const Wanted& wanted : list_) {
      const RequestId id = wanted.admission.request;
      if (!wanted.aborted || !under_way_.contains(id) || random_() % 8 > 0) continue;
      coordinator.forget(id);
      under_way_.erase(id);
      answers_.aborted.insert(id);
    }
  }

  const std::vector<Wanted>& list_;
  std::mt19937_64 random_;
  Answers& answers_;
  std::set<RequestId> under_way_;
  std::set<RequestId> turned_;
  std::vector<RequestId> ended_;
};

/// Memory for the longest request and a few short ones: most wait until others end.
std::vector<RequestShape> shapes(const std::vector<Wanted>& list, int running) {
  std::int64_t most = 0;
  for (const Wanted& wanted : list) {
    most = std::max(most, std::max(wanted.room(), std::ssize(wanted.admission.prompt) + kMaxNew));
  }
  std::vector<RequestShape> some(running, RequestShape{.room = most / 4 + 2});
  some.front().room = most;
  return some;
}

struct Setting {
  const ElasticSize& size;
  const std::vector<Wanted>& list;
  const std::filesystem::path& model;
};

Answers answer(const OnMachines& run, const Setting& setting, const JobOptions& options) {
  Answers answers;
  run([&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, setting.model.string()), {});
    if (machine.rank() != 0) {
      run_session(machine, model, options, nullptr);
      return;
    }
    answers.are_here = true;
    Drive drive(setting.list, setting.size.seed, answers);
    SessionInput input{.shapes = shapes(setting.list, options.max_running),
                       .listener = drive.listener()};
    const bool aborts = options.random_elastic.has_value();
    input.drive = [&](Coordinator& coordinator) { drive.run(coordinator, aborts); };
    run_session(machine, model, options, &input);
  });
  return answers;
}

double margin_of(const Scored& token) {
  return token.margin < 1 ? token.margin : token.top.at(0).logprob - token.top.at(1).logprob;
}

/// Whether they differ where the reference was in doubt.
bool differ(RequestId id, const std::vector<Scored>& some, const std::vector<Scored>& oracle) {
  for (std::size_t i = 0; i < some.size(); ++i) {
    const TokenScore& got = some[i].chosen;
    const TokenScore& wanted = oracle.at(i).chosen;
    if (got.id == wanted.id) {
      EXPECT_NEAR(got.logprob, wanted.logprob, kNoise) << "request " << id << ", token " << i;
      continue;
    }
    const double margin = margin_of(oracle[i]);
    EXPECT_LT(margin, kDoubt) << "request " << id << ", token " << i;
    std::cout << str(
        "request {}: differs at token {}, where the reference had {:.1e} nat to the "
        "next\n",
        id, i, margin);
    return true;
  }
  return false;
}

void compare(const Setting& setting, const Answers& answers, const Answers& oracle) {
  int different = 0;
  std::int64_t tokens = 0;
  for (const Wanted& wanted : setting.list) {
    const RequestId id = wanted.admission.request;
    const auto got = answers.tokens.find(id);
    const std::int64_t count = got == answers.tokens.end() ? 0 : std::ssize(got->second);
    const std::vector<Scored>& all = oracle.tokens.at(id);
    if (answers.aborted.contains(id)) {
      EXPECT_LE(count, std::ssize(all)) << "request " << id;
    } else {
      EXPECT_EQ(count, std::ssize(all)) << "request " << id;
    }
    tokens += count;
    if (count > 0) different += differ(id, got->second, all);
  }
  EXPECT_LE(different, (3 * setting.size.requests + 499) / 500);
  std::cout << str(
      "{} requests, {} aborted, {} tokens compared, {} differ in doubt; {} chunks by other ranks "
      "than the one before, {} times new owners, {} pages moved\n",
      setting.list.size(), answers.aborted.size(), tokens, different, answers.changes.regroups,
      answers.changes.redraws, answers.changes.moves);
  EXPECT_GT(answers.changes.regroups, setting.size.requests / 2);
  EXPECT_GT(answers.changes.redraws, setting.size.requests);
  EXPECT_GT(answers.changes.moves, setting.size.requests / 2);
}

}  // namespace

void expect_elastic_is_exact(const ElasticSize& size, const std::filesystem::path& model,
                             const OnMachines& run) {
  TinyLlama tiny{.hidden = 48, .heads = 3, .kv_heads = 1, .head_dim = 16, .ffn = 64};
  tiny.context = 4 * (size.longest_prompt + kMaxNew);
  run([&](Machine& machine) {
    if (machine.rank() == 0) tiny.write(model);
    barrier(machine.control());
  });
  const std::vector<Wanted> list = RequestDraw(size).all();
  const Setting setting{size, list, model};
  const Answers oracle =
      answer(run, setting,
             {.page_tokens = 8, .chunk_tokens = 64, .max_running = 1, .prefix_cache = false});
  const Answers answers = answer(run, setting,
                                 {.degree = kRanks,
                                  .page_tokens = 8,
                                  .chunk_tokens = 64,
                                  .max_running = kRunning,
                                  .random_elastic = size.seed,
                                  .move_bandwidth = 4 << 20,  // about two pages a millisecond
                                  .spare_pages = 2});
  if (!answers.are_here) return;
  std::filesystem::remove(model);
  compare(setting, answers, oracle);
}

}  // namespace longspan::test
