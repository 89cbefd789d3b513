#include "launch/batch/batch_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>

#include "comm/error.h"
#include "comm/host.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr auto kRetry = std::chrono::milliseconds(50);

OpenFile open_lock(const std::filesystem::path& path) { return {path, O_RDWR | O_CREAT}; }

/// Whether `path` still names the open file: its last holder has removed it otherwise.
bool is_still_there(const OpenFile& file) {
  struct stat open = {}, named = {};
  return fstat(file.descriptor(), &open) == 0 && stat(file.path().c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

}  // namespace

BatchLock::BatchLock(std::filesystem::path path, const std::filesystem::path& output,
                     std::chrono::milliseconds patience)
    : file_(open_lock(path)) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!try_lock()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      throw Error(ExitCode::kTemporary,
                  str("{} is being written by {}; wait for it to end, or name another file",
                      output.string(), holder()));
    }
    std::this_thread::sleep_for(kRetry);
  }
  file_.resize(0);
  file_.write(0, str("process {} on {}\n", getpid(), host_name()));
}

BatchLock::~BatchLock() { unlink(file_.path().c_str()); }

bool BatchLock::try_lock() {
  if (flock(file_.descriptor(), LOCK_EX | LOCK_NB) == 0) {
    if (is_still_there(file_)) return true;
    file_ = open_lock(file_.path());
    return false;
  }
  if (errno != EWOULDBLOCK && errno != EINTR) file_.fail("cannot be locked", errno);
  return false;
}

std::string BatchLock::holder() const {
  std::array<char, 512> bytes;
  std::string text(bytes.data(), file_.read(0, bytes));
  text = text.substr(0, text.find('\n'));
  return text.empty() ? "another process" : text;
}

}  // namespace longspan
