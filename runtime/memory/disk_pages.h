// Pages on a local disk: a file of this process alone, with a checksum of each page in memory.
//
// The file has no name once it is open: nobody else finds it, and however the process ends its
// space is free again. What it holds is thus of no use to a later one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/memory/page_store.h"

namespace longspan {

/// Throws MissingInput, PermissionError or IoError where no file of `folder` can be written, with
/// what to do.
void expect_disk_folder(const std::filesystem::path& folder);

class DiskPages final : public PageStore {
 public:
  /// Makes the file, for pages in slots below `places`. Throws as expect_disk_folder().
  DiskPages(const std::filesystem::path& folder, std::size_t page_bytes, std::int64_t places);
  ~DiskPages() override;

  bool write(StorePlace place, ConstBytes page) override;
  bool read(StorePlace place, Bytes page) override;

 private:
  struct Written {
    std::uint32_t generation = 0;
    std::uint32_t crc = 0;
  };

  std::string try_write(std::uint64_t at, ConstBytes page) const;
  std::string try_read(std::uint64_t at, Bytes page) const;
  bool outcome(bool& failing, std::string_view what, const std::string& why) const;

  std::filesystem::path folder_;
  std::size_t page_bytes_;
  int file_ = -1;
  std::vector<std::optional<Written>> written_;  // by slot
  bool writing_fails_ = false;
  bool reading_fails_ = false;
};

}  // namespace longspan
