// Pages on a local disk: a file of this process alone.
//
// The file has no name once it is open: nobody else finds it, and however the process ends its
// space is free again. What it holds is thus of no use to a later one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/memory/page_store.h"

namespace longspan {

/// Throws MissingInput, PermissionError or IoError where no file of `folder` can be written, with
/// what to do.
void expect_disk_folder(const std::filesystem::path& folder);

class DiskPages final : public PageStore {
 public:
  /// Makes the file, for `places` pages at a time. Throws as expect_disk_folder().
  DiskPages(const std::filesystem::path& folder, std::size_t page_bytes, std::int64_t places);
  ~DiskPages() override;

  bool write(std::int32_t slot, ConstBytes page) override;
  bool read(std::int32_t slot, Bytes page) override;
  void forget(std::int32_t slot) override;

 private:
  std::uint64_t byte_of(std::int32_t slot) const;
  std::string try_write(std::uint64_t at, ConstBytes page) const;
  std::string try_read(std::uint64_t at, Bytes page) const;
  bool outcome(bool& failing, std::string_view what, const std::string& why) const;

  std::filesystem::path folder_;
  std::size_t page_bytes_;
  int file_ = -1;
  std::int64_t places_;
  std::unordered_map<std::int32_t, std::int64_t> place_of_;  // of slots that have something
  std::vector<std::int64_t> empty_;                          // places that had something
  bool writing_fails_ = false;
  bool reading_fails_ = false;
};

}  // namespace longspan
