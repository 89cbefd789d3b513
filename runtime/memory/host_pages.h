// Which pages stay in the buffers of host memory that they were copied to, and which goes first.
//
// Not thread-safe: PageTier guards it.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <unordered_map>

#include "comm/device.h"

namespace longspan {

class HostPages {
 public:
  struct Kept {
    std::int32_t slot = 0;
    Bytes page;
  };

  /// The buffer is the slot's from now on, and the last to go. Gives back the one that it had.
  std::optional<Bytes> keep(std::int32_t slot, Bytes page);
  std::optional<Bytes> find(std::int32_t slot) const;
  /// Gives the slot's buffer away, whether or not it is held.
  std::optional<Bytes> remove(std::int32_t slot);
  /// The one used least recently of those that are not held.
  std::optional<Kept> take_oldest();
  /// Whether take_oldest() would find one.
  bool has_idle() const { return oldest() != order_.end(); }

  /// Somebody reads the slot, wherever its page is: it stays there, and is used last. May be said
  /// several times.
  void hold(std::int32_t slot);
  void let_go(std::int32_t slot);

  std::int64_t size() const { return std::ssize(order_); }

 private:
  using Order = std::list<Kept>;
  Order::const_iterator oldest() const;
  void use(std::int32_t slot);

  Order order_;  // used least recently first
  std::unordered_map<std::int32_t, Order::iterator> by_slot_;
  std::map<std::int32_t, int> held_;  // slots, and how often
};

}  // namespace longspan
