// The few collectives that start-up needs, over point-to-point messages.
//
//   broadcast  root --> everyone          gather  everyone --> root          barrier  both, empty
//
// A star: the root exchanges two messages at most with each rank (a size, and the bytes), the
// others speak to the root alone. That is right for dozens of ranks and some kilobytes at start;
// nothing here belongs into a step.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/error.h"

namespace longspan {

/// Long enough for the slowest rank to load its weights.
inline constexpr Patience kStartPatience{std::chrono::minutes(2), std::chrono::milliseconds(1)};

/// A size that a peer announces is believed up to here; memory is taken only afterwards.
inline constexpr std::size_t kLargestStartMessage = std::size_t{256} << 20;

/// Returns once every rank has called it.
void barrier(Communicator& control, Patience patience = kStartPatience);

/// Afterwards `bytes` is on every rank what it was on `root`.
void broadcast(Communicator& control, std::vector<std::byte>& bytes, int root,
               Patience patience = kStartPatience);

/// On `root` everybody's bytes, by rank; elsewhere nothing.
std::vector<std::vector<std::byte>> gather(Communicator& control, ConstBytes bytes, int root,
                                           Patience patience = kStartPatience);

/// How a rank failed, in a form that travels.
struct Failure {
  ExitCode code;
  std::string message;
};

/// Every rank says whether it failed. If any did, all ranks throw the same Error: the failure of
/// the lowest one, prefixed with its rank and host unless it is rank 0. So one rank's
/// failure ends all of them in an orderly way, and only one of them needs to print it.
void agree(Communicator& control, const std::optional<Failure>& failure,
           Patience patience = kStartPatience);

/// Throws the Error class that belongs to `failure.code`.
[[noreturn]] void raise(const Failure& failure);

}  // namespace longspan
