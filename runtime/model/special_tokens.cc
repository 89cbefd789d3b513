#include "runtime/model/special_tokens.h"

namespace longspan {

std::optional<std::uint32_t> SpecialTokens::child(std::uint32_t node, char byte) const {
  for (const auto& [edge, target] : nodes_[node].children) {
    if (edge == byte) return target;
  }
  return std::nullopt;
}

void SpecialTokens::add(std::string_view written, TokenId id) {
  begins_[static_cast<unsigned char>(written.front())] = true;
  std::uint32_t node = 0;
  for (const char byte : written) {
    std::optional<std::uint32_t> next = child(node, byte);
    if (!next) {
      next = static_cast<std::uint32_t>(nodes_.size());
      nodes_[node].children.emplace_back(byte, *next);
      nodes_.emplace_back();
    }
    node = *next;
  }
  if (nodes_[node].id < 0) nodes_[node].id = id;
}

std::optional<SpecialTokens::Match> SpecialTokens::match_at(std::string_view text,
                                                            std::size_t begin) const {
  std::optional<Match> longest;
  std::uint32_t node = 0;
  for (std::size_t at = begin; at < text.size(); ++at) {
    const auto next = child(node, text[at]);
    if (!next) break;
    node = *next;
    if (nodes_[node].id >= 0) longest = {begin, at + 1, nodes_[node].id};
  }
  return longest;
}

std::optional<SpecialTokens::Match> SpecialTokens::find(std::string_view text,
                                                        std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    if (!begins_[static_cast<unsigned char>(text[at])]) continue;
    if (const auto match = match_at(text, at)) return match;
  }
  return std::nullopt;
}

}  // namespace longspan
