// Which strategies of one kind a job may use. Trivially copyable: it is part of the memory plan,
// which travels.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace longspan {

template <typename Kind>
class BasicStrategySet {
 public:
  constexpr BasicStrategySet() = default;
  constexpr BasicStrategySet(std::initializer_list<Kind> list) {
    for (Kind strategy : list) insert(strategy);
  }
  constexpr void insert(Kind strategy) { bits_ |= 1u << static_cast<unsigned>(strategy); }
  constexpr bool contains(Kind strategy) const {
    return (bits_ >> static_cast<unsigned>(strategy) & 1) != 0;
  }

 private:
  std::uint32_t bits_ = 0;
};

}  // namespace longspan
