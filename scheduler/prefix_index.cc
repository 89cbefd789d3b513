#include "scheduler/prefix_index.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace longspan {
namespace {

constexpr PageHash kNothing{};

const PageRef& preferred(const std::vector<PageRef>& copies, std::span<const int> prefer) {
  for (const int owner : prefer) {
    const auto copy = std::ranges::find(copies, owner, &PageRef::owner);
    if (copy != copies.end()) return *copy;
  }
  return copies.front();
}

}  // namespace

EvictionClass PrefixIndex::Node::eviction_class() const {
  if (pages.size() > 1) return EvictionClass::kCopy;
  return children.empty() ? EvictionClass::kLeaf : EvictionClass::kInner;
}

std::span<const PageRef> PrefixIndex::pages(const PageHash& hash) const {
  const auto found = nodes_.find(hash);
  return found == nodes_.end() ? std::span<const PageRef>() : found->second.pages;
}

bool PrefixIndex::contains(const PageHash& hash, int owner) const {
  const auto copies = pages(hash);
  return std::ranges::find(copies, owner, &PageRef::owner) != copies.end();
}

std::vector<PageRef> PrefixIndex::chain(std::span<const PageHash> hashes,
                                        std::span<const int> prefer) const {
  std::vector<PageRef> found;
  PageHash parent = kNothing;
  for (const PageHash& hash : hashes) {
    const auto next = nodes_.find(hash);
    if (next == nodes_.end() || next->second.parent != parent) break;
    found.push_back(preferred(next->second.pages, prefer));
    parent = hash;
  }
  return found;
}

void PrefixIndex::add(const PageHash& hash, const PageHash& parent, PageRef page) {
  if (hash == kNothing || contains(hash)) throw std::logic_error("new content has a new hash");
  if (parent != kNothing) {
    node(parent).children.insert(hash);
    refile(parent);
  }
  nodes_.emplace(hash, Node{.parent = parent, .pages = {page}});
}

void PrefixIndex::add_copy(const PageHash& hash, PageRef page) {
  if (contains(hash, page.owner)) throw std::logic_error("an owner has one page of a content");
  std::vector<PageRef>& copies = node(hash).pages;
  copies.insert(std::ranges::lower_bound(copies, page), page);
  refile(hash);
}

std::vector<PageRef> PrefixIndex::remove(const PageHash& hash, PageRef page) {
  Node& from = node(hash);
  if (std::erase(from.pages, page) == 0) throw std::logic_error("a page that is not in its node");
  idle_.remove(page);
  std::vector<PageRef> gone{page};
  if (!from.pages.empty()) {
    refile(hash);
    return gone;
  }
  const PageHash parent = from.parent;
  cut(hash, gone);
  if (parent != kNothing) {
    node(parent).children.erase(hash);
    refile(parent);
  }
  return gone;
}

void PrefixIndex::cut(const PageHash& hash, std::vector<PageRef>& gone) {
  const auto first = static_cast<std::ptrdiff_t>(gone.size());
  std::vector<PageHash> open{hash};
  while (!open.empty()) {
    const auto found = nodes_.find(open.back());
    open.pop_back();
    const Node& node = found->second;
    gone.insert(gone.end(), node.pages.begin(), node.pages.end());
    open.insert(open.end(), node.children.begin(), node.children.end());
    nodes_.erase(found);
  }
  for (auto page = gone.begin() + first; page != gone.end(); ++page) idle_.remove(*page);
}

void PrefixIndex::set_idle(const PageHash& hash, PageRef page, std::uint64_t last_used) {
  idle_.put(page, node(hash).eviction_class(), last_used);
}

PrefixIndex::Node& PrefixIndex::node(const PageHash& hash) {
  const auto found = nodes_.find(hash);
  if (found == nodes_.end()) throw std::logic_error("a content that is not indexed");
  return found->second;
}

void PrefixIndex::refile(const PageHash& hash) {
  const Node& changed = node(hash);
  for (const PageRef page : changed.pages) idle_.reclassify(page, changed.eviction_class());
}

std::int64_t PrefixIndex::size() const {
  std::int64_t pages = 0;
  for (const auto& [hash, node] : nodes_) pages += std::ssize(node.pages);
  return pages;
}

std::optional<std::string> PrefixIndex::check() const {
  for (const auto& [hash, node] : nodes_) {
    if (node.pages.empty()) return "I6: a node of the prefix index has no page";
    if (node.parent != kNothing) {
      const auto parent = nodes_.find(node.parent);
      if (parent == nodes_.end() || !parent->second.children.contains(hash)) {
        return "I6: a page in the prefix index cannot be reached";
      }
    }
    for (const PageHash& child : node.children) {
      const auto found = nodes_.find(child);
      if (found == nodes_.end() || found->second.parent != hash) {
        return "I6: the prefix index names a page that is not there";
      }
    }
    std::set<int> owners;
    for (const PageRef page : node.pages) {
      if (!owners.insert(page.owner).second) return "I6: an owner has two pages of one content";
      const auto filed = idle_.class_of(page);
      if (filed && *filed != node.eviction_class()) return "a page is filed in the wrong order";
    }
  }
  return std::nullopt;
}

}  // namespace longspan
