// One run of all prompts at one degree: collects what comes back, and streams it to a person.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/machine.h"
#include "launch/answer.h"
#include "launch/progress.h"
#include "launch/session_keeper.h"
#include "runtime/engine/engine.h"

namespace longspan {

/// What rank 0 is to run.
struct RunInput {
  std::vector<EngineRequest> requests;  // without callbacks; of each prompt `n` in a row
  int n = 1;
  std::vector<std::string> stop_texts;  // end each answer, but not before its min_tokens
  const std::atomic<bool>* interrupted = nullptr;
  SessionKeeper* session = nullptr;   // of the one request, if there is one
  std::vector<ChatMessage> messages;  // of its conversation, without the answer
  bool stream = false;                // text to standard output as it comes
  bool progress = false;
};

struct RunResult {
  std::vector<Answer> answers;  // in order of the requests
  std::vector<RankSummary> ranks;
};

/// On every rank; `input` on rank 0 only, and so `result`: when this throws, the answers in it are
/// as far as they came.
void run_prompts(Machine& machine, LoadedModel& model, const JobOptions& options,
                 const RunInput* input, RunResult& result);

}  // namespace longspan
