// Where pages are kept that have no buffer of host memory any more: the bytes of one each, by slot.
//
// A store may lose what it was given; then it says so, and its user does without. It logs why, once
// until it works again, so that a disk that is gone is one line and not one a page. Whether what it
// gives back is what it was given is for its user to find: PageTier has a checksum of each page.
// One thread at a time.
#pragma once

#include <cstdint>

#include "comm/device.h"

namespace longspan {

class PageStore {
 public:
  PageStore() = default;
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;
  virtual ~PageStore() = default;

  /// Keeps `page`, in place of what the slot had. False where that cannot be: then it has nothing.
  [[nodiscard]] virtual bool write(std::int32_t slot, ConstBytes page) = 0;
  /// Gives back what the slot has. False where that is nothing, or cannot be had.
  [[nodiscard]] virtual bool read(std::int32_t slot, Bytes page) = 0;
  /// The slot has nothing any more, and takes no room.
  virtual void forget(std::int32_t slot) = 0;
};

}  // namespace longspan
