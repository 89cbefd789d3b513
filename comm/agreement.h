// Steps of start-up that all ranks take together, or none.
//
// Each rank tries its part; if any fails, all throw the same Error, so that nobody waits for a rank
// that has left and the user reads one line.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

#include "comm/collective.h"
#include "comm/error.h"

namespace longspan {

/// What `attempt` returns on this rank, once every rank's attempt has succeeded. Waits as long as
/// the slowest rank needs, which may be waiting for a person.
template <typename Attempt>
auto agree_on(Communicator& control, Attempt&& attempt) {
  std::optional<decltype(attempt())> value;
  std::optional<Failure> failure;
  try {
    value.emplace(attempt());
  } catch (const Error& error) {
    failure = Failure{error.code(), error.what()};
  } catch (const std::exception& error) {
    failure = Failure{ExitCode::kInternal, error.what()};
  }
  agree(control, failure, Patience::forever());
  return std::move(*value);
}

/// The smallest of all ranks' values, on every rank.
std::int64_t minimum(Communicator& control, std::int64_t value);

/// Whether any rank says yes, on every rank.
inline bool any_rank(Communicator& control, bool yes) { return minimum(control, yes ? 0 : 1) == 0; }

}  // namespace longspan
