#include "runtime/memory/disk_pages.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "comm/crc32c.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::string_view kRemedy =
    "name a folder on a local disk that exists and that this user may write";

[[noreturn]] void refuse(const std::filesystem::path& folder, int error) {
  const std::string why = str("{}: evicted pages cannot be kept there: {}; {}", folder.string(),
                              std::strerror(error), kRemedy);
  if (error == ENOENT || error == ENOTDIR) throw MissingInput(why);
  if (error == EACCES || error == EPERM || error == EROFS) throw PermissionError(why);
  throw IoError(why);
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
    : folder_(folder), page_bytes_(page_bytes), file_(open_unnamed(folder)), written_(places) {}

DiskPages::~DiskPages() { ::close(file_); }

bool DiskPages::write(StorePlace place, ConstBytes page) {
  expects(page.size() == page_bytes_, "a whole page");
  written_.at(place.slot).reset();
  const std::string why = try_write(place.slot * page_bytes_, page);
  if (!outcome(writing_fails_, "cannot be written", why)) return false;
  written_[place.slot] = Written{place.generation, crc32c(page)};
  return true;
}

bool DiskPages::read(StorePlace place, Bytes page) {
  expects(page.size() == page_bytes_, "a whole page");
  const std::optional<Written> written = written_.at(place.slot);
  if (!written || written->generation != place.generation) return false;  // that was said
  std::string why = try_read(place.slot * page_bytes_, page);
  if (why.empty() && crc32c(page) != written->crc) why = "it is damaged: its checksum is another";
  if (!why.empty()) written_[place.slot].reset();
  return outcome(reading_fails_, "cannot be read again", why);
}

/// Why not; empty where it was.
std::string DiskPages::try_write(std::uint64_t at, ConstBytes page) const {
  while (!page.empty()) {
    const ssize_t count = ::pwrite(file_, page.data(), page.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::strerror(errno);
    if (count == 0) return "the disk takes no more";
    page = page.subspan(static_cast<std::size_t>(count));
    at += static_cast<std::uint64_t>(count);
  }
  return "";
}

std::string DiskPages::try_read(std::uint64_t at, Bytes page) const {
  while (!page.empty()) {
    const ssize_t count = ::pread(file_, page.data(), page.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::strerror(errno);
    if (count == 0) return "the file was cut short";
    page = page.subspan(static_cast<std::size_t>(count));
    at += static_cast<std::uint64_t>(count);
  }
  return "";
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
