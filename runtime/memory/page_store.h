// Where pages are kept that left KV memory: so many places, each for the bytes of one page.
//
// A store may lose what it was given; then it says so, and gives back nothing rather than something
// else. It logs why, once until it works again, so that a disk that is gone is one line and not one
// a page. Its user has it to itself, one thread at a time.
#pragma once

#include <cstdint>

#include "comm/device.h"

namespace longspan {

/// A place, and which of the contents that it has had: a later one has a higher generation.
struct StorePlace {
  std::int32_t slot = 0;
  std::uint32_t generation = 0;

  friend bool operator==(const StorePlace&, const StorePlace&) = default;
};

class PageStore {
 public:
  PageStore() = default;
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;
  virtual ~PageStore() = default;

  /// Keeps `page`, in place of what the slot had. False where that cannot be: then it has nothing.
  [[nodiscard]] virtual bool write(StorePlace place, ConstBytes page) = 0;
  /// Gives back the bytes that were written to the place. False where it has others, or cannot.
  [[nodiscard]] virtual bool read(StorePlace place, Bytes page) = 0;
};

}  // namespace longspan
