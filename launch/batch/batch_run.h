// Rank 0's side of a batch: lines in, answers out, many at once.
//
//   input line --read--> request --> one engine request an answer --step, step, ...--> a line of
//   output
//        |                 |
//        |                 +-- what cannot be done: an error is its line
//        +-- answered by an earlier run: passed over
//
// Lines are read as answers come, so that no more are held than the engine lets run and wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "launch/answer_interrupt.h"
#include "launch/batch/batch_files.h"
#include "launch/batch/batch_progress.h"
#include "launch/batch/batch_requests.h"
#include "runtime/engine/engine.h"

namespace longspan {

struct BatchRunOptions {
  std::string input;
  bool retries_failed = false;
  std::int64_t seed = 0;
  int max_running = 64;     // requests that the engine runs at once
  std::string fingerprint;  // of this program
  Readers readers;
  bool terminal = false;  // a person watches
};

class BatchRun {
 public:
  /// Borrows all but `options`.
  BatchRun(BatchRunOptions options, const BatchRequests& requests, BatchFiles& files,
           const BatchFiles::Survey& survey, AnswerInterrupt& interrupt);

  /// Until all lines are answered. After a Ctrl-C what has begun is answered and nothing else.
  void serve(Engine& engine);

  /// Whether lines are left.
  bool cut_short() const { return cut_short_; }
  const BatchCounts& counts() const { return counts_; }

 private:
  using Clock = std::chrono::steady_clock;

  /// A request whose answers are being written.
  struct Pending {
    LineName name;
    std::string custom_id;
    Endpoint endpoint = Endpoint::kCompletions;
    bool logprobs = false;
    std::int64_t created = 0;
    std::int64_t prompt_tokens = 0;
    std::vector<AnswerRecorder> answers;  // those that were submitted
    std::vector<RequestId> ids;           // of the answers, in the engine
    std::size_t open = 0;                 // answers that are not complete, submitted or not
    std::size_t answers_per_prompt = 1;
    bool begun = false;
  };

  /// An answer that the engine's queue had no place for.
  struct Unsubmitted {
    Pending* to = nullptr;
    RecordedRequest answer;
    EngineRequest request;
  };

  void take_lines(Engine& engine);
  void take(Engine& engine, const InputLine& input);
  void start(Engine& engine, const LineName& name, const BatchLine& line);
  void drop_what_has_not_begun(Engine& engine);
  void prepare(Engine& engine, Pending& pending, RecordedRequest answer,
               const CompletionRequest& asked);
  void submit_what_may_wait(Engine& engine);
  double under_way() const;
  void show_progress(const Engine& engine);
  void finish(const Pending& request);
  void fail(const LineName& name, const std::string& custom_id, ApiError error);
  void warn_of_unknown(const LineName& name, const std::vector<std::string>& fields);
  void note_prefill(Pending& request, std::size_t answer, const Progress& chunk);
  void note_token(Engine& engine, Pending& request, std::size_t answer, const Scored& scored);
  double now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  const BatchRunOptions options_;
  const BatchRequests& requests_;
  BatchJournal& journal_;
  AnswerInterrupt& interrupt_;
  BatchInput input_;
  const Clock::time_point start_;
  BatchCounts counts_;
  BatchProgress progress_;
  std::unordered_map<std::string, std::int64_t> custom_ids_;  // and the line that used each first
  std::set<std::string> told_of_;                             // fields that nobody knows
  std::map<std::int64_t, Pending> pending_;                   // by line
  std::deque<Unsubmitted> unsubmitted_;                       // of the last line read
  bool input_ended_ = false;
  bool stopping_ = false;  // after a Ctrl-C
  bool cut_short_ = false;
};

}  // namespace longspan
