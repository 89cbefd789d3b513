// The output of a batch while it is made, and as it stays.
//
//   while it runs   answers in the order they come, each a whole line; on the disk within a second
//   at the end      the same lines in the order of the input, one for each, put there at once
//   started again   what a crash cut off is cut, what it tore inside is passed over; every line
//                   says which input line it answers
//
// So nothing finished is lost, and there is no other file that could contradict this one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "launch/batch/batch_line.h"
#include "launch/batch/open_file.h"

namespace longspan {

class BatchJournal {
 public:
  /// What became of an input line in an earlier run.
  enum class Before { kNothing, kAnswered, kFailed };

  /// Opens `path`, which is made if missing, and reads it; a torn last line is cut. Throws
  /// DataError naming the line when a line is none of a batch's output, MissingInput,
  /// PermissionError or IoError.
  explicit BatchJournal(const std::filesystem::path& path);
  ~BatchJournal();
  BatchJournal(const BatchJournal&) = delete;
  BatchJournal& operator=(const BatchJournal&) = delete;

  const OpenFile& file() const { return file_; }
  /// Answers that are there.
  std::size_t lines() const { return answers_.size(); }
  /// Lines that a crash tore before others followed: they answer nothing, and go when the lines are
  /// put in order.
  std::size_t torn() const { return torn_; }
  /// Whether the line was answered before this run; one whose text has changed was not.
  Before before(const LineName& name) const;

  /// Takes all lines away.
  void clear();
  /// Adds a line, `text` with its end. It is written when this returns, and on the disk within a
  /// second. Throws IoError when it cannot be written whole; then none of it is.
  void append(const AnsweredLine& answered, const std::string& text);
  /// Waits until every line is on the disk. Throws IoError.
  void sync();
  /// Puts the lines in order of the input, whose last line has the number `last`: of several for
  /// one line the newest stays, and those of lines behind the last go. Returns how many went.
  /// Throws IoError, and all stays as it was. The last call.
  std::size_t put_in_order(std::int64_t last);

 private:
  struct Answer {
    LineName name;
    std::int64_t at = 0;  // in the file
    std::int64_t bytes = 0;
    bool failed = false;
  };

  void read();
  void take(std::string_view line);
  void sort();
  bool is_in_order() const;
  std::vector<Answer> ordered(std::int64_t last) const;
  void copy(const Answer& answer, const OpenFile& to, std::int64_t at) const;
  void keep_synced(const std::stop_token& stop);
  [[noreturn]] void fail_full(const std::exception& error) const;

  OpenFile file_;
  std::int64_t end_ = 0;         // of the last whole line
  std::vector<Answer> answers_;  // those of earlier runs first, by number; then as they came
  std::size_t earlier_ = 0;      // how many are of earlier runs
  std::size_t torn_ = 0;

  std::mutex mutex_;  // of what follows, which the thread shares
  std::condition_variable_any wake_;
  bool unsynced_ = false;
  std::exception_ptr failure_;  // of the thread
  std::jthread syncs_;          // last: it ends before what it uses goes
};

}  // namespace longspan
