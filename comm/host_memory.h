// How much memory this host still has for us.
#pragma once

#include <cstdint>
#include <string>

namespace longspan {

/// Bytes that can be taken without swapping: what the kernel calls available, or what the control
/// group (version 1 or 2) of this process still allows, whichever is less.
std::int64_t available_host_memory();

/// "1.5 GiB": three digits at most before the unit.
std::string human_bytes(std::int64_t bytes);

}  // namespace longspan
