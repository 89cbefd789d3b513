#include "launch/batch/batch_journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr auto kSyncEvery = std::chrono::seconds(1);
constexpr std::int64_t kPiece = 1 << 20;

/// Of the file itself: a symbolic link to it must still lead there when the lines are in order.
std::filesystem::path without_links(const std::filesystem::path& path) {
  std::error_code unknown;
  const auto real = std::filesystem::canonical(path, unknown);
  return unknown ? path : real;
}

OpenFile open_output(const std::filesystem::path& path) {
  OpenFile file(without_links(path), O_RDWR | O_CREAT);
  file.expect_regular();
  return file;
}

}  // namespace

BatchJournal::BatchJournal(const std::filesystem::path& path) : file_(open_output(path)) {
  read();
  sort();
  earlier_ = answers_.size();
  syncs_ = std::jthread([this](const std::stop_token& stop) { keep_synced(stop); });
}

BatchJournal::~BatchJournal() = default;

void BatchJournal::read() {
  std::string rest;  // of a line whose end is still to come
  std::vector<char> piece(kPiece);
  std::int64_t offset = 0;
  while (const std::size_t count = file_.read(offset, piece)) {
    offset += static_cast<std::int64_t>(count);
    std::size_t begin = 0, end = rest.size();  // no end of a line before that
    rest.append(piece.data(), count);
    while ((end = rest.find('\n', end)) != std::string::npos) {
      take(std::string_view(rest).substr(begin, ++end - begin));
      begin = end;
    }
    rest.erase(0, begin);
  }
  if (!rest.empty()) file_.resize(end_);
}

void BatchJournal::take(std::string_view line) {
  const auto answered = read_answered_line(line);
  if (answered) {
    answers_.push_back({answered->name, end_, std::ssize(line), answered->failed});
  } else if (begins_as_answer(line)) {
    ++torn_;
  } else {
    throw DataError(
        str("{}: line {} is none that longspan run-batch wrote; name another -o, or move the file "
            "away; of a file that was damaged, take that line out: its request is answered again",
            file_.path().string(), answers_.size() + torn_ + 1));
  }
  end_ += std::ssize(line);
}

/// By number; of several for one line the newest comes last.
void BatchJournal::sort() {
  std::ranges::stable_sort(answers_, {}, [](const Answer& answer) { return answer.name.number; });
}

BatchJournal::Before BatchJournal::before(const LineName& name) const {
  const auto number = [](const Answer& answer) { return answer.name.number; };
  const auto found = std::ranges::equal_range(answers_.begin(), answers_.begin() + earlier_,
                                              name.number, {}, number);
  if (found.empty()) return Before::kNothing;
  const Answer& newest = found.back();
  if (newest.name.digest != name.digest) return Before::kNothing;
  return newest.failed ? Before::kFailed : Before::kAnswered;
}

void BatchJournal::clear() {
  file_.resize(0);
  answers_.clear();
  torn_ = 0;
  end_ = 0;
  earlier_ = 0;
}

void BatchJournal::append(const AnsweredLine& answered, const std::string& text) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }
  try {
    file_.write(end_, text);
  } catch (const Error& error) {
    file_.resize(end_);
    fail_full(error);
  }
  answers_.push_back({answered.name, end_, std::ssize(text), answered.failed});
  end_ += std::ssize(text);
  const std::lock_guard lock(mutex_);
  unsynced_ = true;
}

void BatchJournal::fail_full(const std::exception& error) const {
  throw IoError(
      str("{}; the {} lines that were answered are kept: make room and run the same "
          "command again",
          error.what(), answers_.size()));
}

void BatchJournal::sync() {
  file_.sync();
  const std::lock_guard lock(mutex_);
  unsynced_ = false;
}

/// On its own thread: a disk may take longer than a step, and a step longer than a second.
void BatchJournal::keep_synced(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    wake_.wait_for(lock, stop, kSyncEvery, [] { return false; });
    if (!std::exchange(unsynced_, false)) continue;
    lock.unlock();
    std::exception_ptr failure;
    try {
      file_.sync();
    } catch (const Error&) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure) failure_ = failure;
  }
}

bool BatchJournal::is_in_order() const {
  std::int64_t at = 0;
  for (const Answer& answer : answers_) {
    if (answer.at != at) return false;
    at += answer.bytes;
  }
  return at == end_;
}

std::vector<BatchJournal::Answer> BatchJournal::ordered(std::int64_t last) const {
  std::vector<Answer> kept;
  for (const Answer& answer : answers_) {
    if (answer.name.number > last) break;
    if (!kept.empty() && kept.back().name.number == answer.name.number) kept.pop_back();
    kept.push_back(answer);
  }
  return kept;
}

std::size_t BatchJournal::put_in_order(std::int64_t last) {
  syncs_ = {};  // it uses the file
  sync();
  sort();
  earlier_ = answers_.size();
  std::vector<Answer> kept = ordered(last);
  const std::size_t gone = answers_.size() - kept.size();
  if (gone == 0 && is_in_order()) return 0;

  struct stat status = {};
  const std::filesystem::path draft_path = file_.path().string() + ".tmp";
  try {
    OpenFile draft(draft_path, O_RDWR | O_CREAT | O_TRUNC);
    if (fstat(file_.descriptor(), &status) == 0) {
      [[maybe_unused]] const int kept_mode = fchmod(draft.descriptor(), status.st_mode & 07777);
    }
    std::int64_t at = 0;
    for (Answer& answer : kept) {
      copy(answer, draft, at);
      answer.at = std::exchange(at, at + answer.bytes);
    }
    rename_durably(draft, file_.path());
    file_ = OpenFile(file_.path(), O_RDWR);
    end_ = at;
  } catch (const Error& error) {
    unlink(draft_path.c_str());
    throw IoError(str(
        "{}; all {} answers are in {}, but not yet in order: make room and run the same command "
        "again",
        error.what(), kept.size(), file_.path().string()));
  }
  answers_ = std::move(kept);
  earlier_ = answers_.size();
  torn_ = 0;
  return gone;
}

void BatchJournal::copy(const Answer& answer, const OpenFile& to, std::int64_t at) const {
  std::vector<char> piece(static_cast<std::size_t>(std::min(answer.bytes, kPiece)));
  for (std::int64_t done = 0; done < answer.bytes;) {
    const auto count = static_cast<std::size_t>(std::min(answer.bytes - done, kPiece));
    const std::size_t read = file_.read(answer.at + done, std::span(piece).first(count));
    if (read < count) throw IoError(str("{}: was cut by somebody else", file_.path().string()));
    to.write(at + done, {piece.data(), count});
    done += static_cast<std::int64_t>(count);
  }
}

}  // namespace longspan
