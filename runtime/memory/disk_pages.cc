#include "runtime/memory/disk_pages.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/file_io.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::string_view kRemedy =
    "name a folder on a local disk that exists and that this user may write";

[[noreturn]] void refuse(const std::filesystem::path& folder, int error) {
  throw_read_error(error, str("{}: evicted pages cannot be kept there: {}; {}", folder.string(),
                              std::strerror(error), kRemedy));
}

/// A new file of this user alone, without a name.
int open_unnamed(const std::filesystem::path& folder) {
  std::random_device random;
  const auto path =
      folder / str("longspan-kv-{:08x}{:08x}", std::uint32_t{random()}, std::uint32_t{random()});
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) refuse(folder, errno);
  if (::unlink(path.c_str()) == 0) return file;
  const int error = errno;
  ::close(file);
  refuse(folder, error);
}

}  // namespace

void expect_disk_folder(const std::filesystem::path& folder) { ::close(open_unnamed(folder)); }

DiskPages::DiskPages(const std::filesystem::path& folder, std::size_t page_bytes,
                     std::int64_t places)
    : folder_(folder), page_bytes_(page_bytes), file_(open_unnamed(folder)), places_(places) {}

DiskPages::~DiskPages() { ::close(file_); }

bool DiskPages::write(std::int32_t slot, ConstBytes page) {
  expects(page.size() == page_bytes_, "a whole page");
  forget(slot);
  if (empty_.empty()) {
    expects(std::ssize(place_of_) < places_, "a place for each slot that has something");
    empty_.push_back(std::ssize(place_of_));
  }
  place_of_.emplace(slot, empty_.back());
  empty_.pop_back();
  const std::string why = try_write(byte_of(slot), page);
  if (!why.empty()) forget(slot);
  return outcome(writing_fails_, "cannot be written", why);
}

bool DiskPages::read(std::int32_t slot, Bytes page) {
  expects(page.size() == page_bytes_, "a whole page");
  if (!place_of_.contains(slot)) return false;  // that was said
  const std::string why = try_read(byte_of(slot), page);
  if (!why.empty()) forget(slot);
  return outcome(reading_fails_, "cannot be read again", why);
}

void DiskPages::forget(std::int32_t slot) {
  const auto place = place_of_.find(slot);
  if (place == place_of_.end()) return;
  empty_.push_back(place->second);
  place_of_.erase(place);
}

/// Where it begins in the file.
std::uint64_t DiskPages::byte_of(std::int32_t slot) const {
  return static_cast<std::uint64_t>(place_of_.at(slot)) * page_bytes_;
}

/// Why not; empty where it was.
std::string DiskPages::try_write(std::uint64_t at, ConstBytes page) const {
  const int error = write_at(file_, at, page).error;
  return error != 0 ? std::strerror(error) : "";
}

std::string DiskPages::try_read(std::uint64_t at, Bytes page) const {
  const auto [bytes, error] = read_at(file_, at, page);
  if (error != 0) return std::strerror(error);
  return bytes < page.size() ? "the file was cut short" : "";
}

/// Logs the first of failures in a row.
bool DiskPages::outcome(bool& failing, std::string_view what, const std::string& why) const {
  const bool good = why.empty();
  if (!good && !failing) {
    log(LogLevel::kWarning,
        str("{}: an evicted page {}: {}; what cannot be had from there is computed again, and this "
            "is said once until it works again",
            folder_.string(), what, why));
  }
  failing = !good;
  return good;
}

}  // namespace longspan
