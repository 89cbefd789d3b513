#include "launch/batch/batch_files.h"

#include <sys/stat.h>

#include <chrono>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr auto kPatience = std::chrono::seconds(5);

/// As the file itself is named, so that two names of one output have one lock. What is there and
/// cannot be gone on with, or put in order, is refused before there is a lock beside it.
std::filesystem::path real_output(const RunBatchOptions& options, const OpenFile& input) {
  std::error_code unknown;
  auto path = std::filesystem::weakly_canonical(options.output, unknown);
  if (unknown) path = options.output;
  struct stat in = {}, out = {};
  if (stat(options.output.c_str(), &out) != 0) return path;
  if (fstat(input.descriptor(), &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino) {
    throw UsageError(str("{} is both input and output; name another -o", options.output));
  }
  if (S_ISREG(out.st_mode)) return path;
  throw UsageError(
      str("{} is no regular file; a batch goes on from its output and puts it in order: name a "
          "file with -o, and read that when the run is over",
          options.output));
}

std::filesystem::path beside(const std::filesystem::path& output, const char* ending) {
  return output.string() + ending;
}

}  // namespace

bool is_left(const BatchJournal& journal, const LineName& name, bool retries_failed) {
  switch (journal.before(name)) {
    case BatchJournal::Before::kNothing:
      return true;
    case BatchJournal::Before::kFailed:
      return retries_failed;
    case BatchJournal::Before::kAnswered:
      return false;
  }
  return true;
}

BatchFiles::BatchFiles(const RunBatchOptions& options)
    : options_(options),
      input_(options.input),
      output_(real_output(options, input_.file())),
      lock_(beside(output_, ".lock"), options.output, kPatience),
      journal_(output_) {}

std::int64_t BatchFiles::begin(const nlohmann::json& facts, std::int64_t seed) {
  const auto path = beside(output_, ".run");
  const auto record = options_.restart ? std::nullopt : read_record(path);
  if (!record && journal_.lines() > 0 && !options_.restart) {
    throw UsageError(
        str("{} has {} answers, but {}, which says how they were made, is gone; name "
            "another -o, or drop them with --restart",
            options_.output, journal_.lines(), path.filename().string()));
  }
  if (record && journal_.lines() > 0) {
    const auto change = first_change(record->facts, facts);
    if (!change) return record->seed;
    throw UsageError(
        str("{} has {} answers of a run whose {}; give the same model and options, "
            "name another -o, or drop them with --restart",
            options_.output, journal_.lines(), *change));
  }
  journal_.clear();
  write_record(path, {.seed = seed, .facts = facts});
  return seed;
}

BatchFiles::Survey BatchFiles::survey() const {
  BatchInput input(options_.input);
  Survey survey;
  while (const auto line = input.next()) {
    ++survey.requests;
    survey.last = line->number;
    const bool new_one = journal_.lines() == 0;
    survey.left +=
        new_one || is_left(journal_, {line->number, line->digest()}, options_.retry_failed) ? 1 : 0;
  }
  return survey;
}

}  // namespace longspan
