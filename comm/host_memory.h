// How much memory this host still has for us.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace longspan {

/// Bytes that can be taken without swapping: what the kernel calls available, or what a control
/// group of this process still allows, whichever is less. `root`: where /proc and /sys are looked
/// for.
std::int64_t available_host_memory(const std::filesystem::path& root = "/");

/// Bytes of this process that lie in memory now; 0 where the kernel does not say.
std::int64_t resident_host_memory(const std::filesystem::path& root = "/");

/// "1.5 GiB": three digits at most before the unit.
std::string human_bytes(std::int64_t bytes);

}  // namespace longspan
