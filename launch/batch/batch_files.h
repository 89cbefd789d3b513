// The files of a batch as rank 0 holds them: the input, the output with its lock, and the record of
// what the batch was begun with.
//
//   out.jsonl        answers, one a line
//   out.jsonl.run    what they depend on; stays, so that the batch can be gone on with
//   out.jsonl.lock   who writes; there while a run lasts
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "launch/batch/batch_input.h"
#include "launch/batch/batch_journal.h"
#include "launch/batch/batch_lock.h"
#include "launch/batch/batch_record.h"
#include "launch/options.h"

namespace longspan {

class BatchFiles {
 public:
  /// Everything about files that can be refused: what is missing or not readable, not writable,
  /// in use, or not a batch's output. Nothing that is there changes, but for a torn last line.
  /// Throws as its parts.
  explicit BatchFiles(const RunBatchOptions& options);

  /// Begins the batch, or goes on with it: with --restart the answers that are there go. Returns
  /// the seed, `seed` for a new batch. Throws UsageError when answers are there that were made
  /// with other facts.
  std::int64_t begin(const nlohmann::json& facts, std::int64_t seed);

  BatchJournal& journal() { return journal_; }
  const std::filesystem::path& output() const { return output_; }
  /// Requests in the input, how many of them are still to be answered, and its last one's number.
  /// After begin().
  struct Survey {
    std::int64_t requests = 0;
    std::int64_t left = 0;
    std::int64_t last = 0;
  };
  Survey survey() const;

 private:
  const RunBatchOptions& options_;
  BatchInput input_;  // open from the start, so that what is refused is refused there
  std::filesystem::path output_;
  BatchLock lock_;
  BatchJournal journal_;
};

/// Whether a line is to be answered by this run.
bool is_left(const BatchJournal& journal, const LineName& name, bool retries_failed);

}  // namespace longspan
