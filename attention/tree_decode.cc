#include "attention/tree_decode.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "attention/decode_tree.h"
#include "attention/scratch.h"

namespace longspan {

//   transfer | q in, q out, level by level |
//   compute  | own rows x own keys         | rows served | up one level | merge | ...   time -->
//
// A rank's queries come in at one level and go out at the later ones, so they are packed on the
// transfer stream, behind their arrival. On the way up nothing is left to overlap with: those
// exchanges run on the compute stream, after it has waited for all queries.

/// What this rank and another exchange at one level.
struct TreeDecode::Link {
  int rank;
  bool up;                        // to a parent
  std::vector<int> rows;          // of the batch
  std::vector<bool> before = {};  // whether the other's keys come before this rank's, of each row
  float* q = nullptr;
  Partial partials = {};
};

struct TreeDecode::Level {
  std::vector<Link> links;

  Link& link(int rank, bool up) {
    const auto found = std::ranges::find_if(
        links, [&](const Link& one) { return one.rank == rank && one.up == up; });
    if (found != links.end()) return *found;
    return links.emplace_back(Link{.rank = rank, .up = up, .rows = {}});
  }
};

struct TreeDecode::Plan {
  /// A row that this rank has a part in.
  struct Row {
    int row;  // of the batch
    bool mastered;
    const float* q = nullptr;
    Partial partial;  // of the keys merged so far
  };
  std::vector<Level> levels;
  std::vector<Row> rows;

  Row& row(int index) { return *std::ranges::find(rows, index, &Row::row); }
  const Row& row(int index) const { return *std::ranges::find(rows, index, &Row::row); }
};

// Per row: what comes down once and goes down once per level, the same of partials, and the
// log-sum-exp of a row that stays here.
std::int64_t TreeDecode::scratch_values(const HeadShape& shape, const DecodeLimits& limits) {
  const std::int64_t per_link = query_values(shape) + partial_values(shape);
  const int levels = tree_levels(limits.ranks);
  const std::int64_t links = static_cast<std::int64_t>(levels) * limits.rows;
  return (links + limits.rows) * per_link + 2 * (links + limits.rows) * area_values(1) +
         area_values(limits.rows * shape.query_heads);
}

TreeDecode::Plan TreeDecode::lay_out(const DecodeBatch& batch, const float* q, float* out) const {
  const HeadShape& shape = kernels_.shape();
  const std::int64_t width = query_values(shape);
  Plan plan;
  plan.levels.resize(tree_levels(batch.size));
  for (int i : batch.owned(batch.rank)) {
    const DecodeBatchRow& row = batch.rows[i];
    const TreePlace place = tree_place(row.owners, row.master, batch.rank);
    plan.rows.push_back(
        {.row = i, .mastered = row.master == batch.rank, .q = nullptr, .partial = {}});
    if (place.parent >= 0) plan.levels[place.level].link(place.parent, true).rows.push_back(i);
    for (const TreePlace::Child& child : place.children) {
      Link& link = plan.levels[child.level].link(child.rank, false);
      link.rows.push_back(i);
      link.before.push_back(child.before);
    }
  }

  Scratch scratch(memory_.scratch);
  for (Level& level : plan.levels) {
    for (Link& link : level.links) {
      const std::int64_t rows = std::ssize(link.rows);
      link.q = scratch.take(rows * width);
      link.partials = partial_at(scratch.take(rows * partial_values(shape)), rows, shape);
      for (std::int64_t i = 0; link.up && i < rows; ++i) {
        Plan::Row& row = plan.row(link.rows[i]);
        row.q = link.q + i * width;
        row.partial = partial_row(link.partials, i, shape);
      }
    }
  }
  const Partial results{out, scratch.take(std::ssize(batch.rows) * shape.query_heads)};
  std::int64_t mastered = 0;
  for (Plan::Row& row : plan.rows) {
    if (!row.mastered) continue;
    row.q = q + mastered * width;
    row.partial = partial_row(results, mastered++, shape);
  }
  return plan;
}

/// On the transfer stream, which already waits for the queries.
void TreeDecode::send_queries(const Group& group, const Plan& plan) {
  const std::int64_t width = query_values(kernels_.shape());
  for (const Level& level : plan.levels) {
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (const Link& link : level.links) {
      const std::int64_t rows = std::ssize(link.rows);
      if (link.up) {
        receives.push_back({link.rank, message_bytes(link.q, rows * width)});
        continue;
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        device_.copy(transfer(), message_bytes(link.q + i * width, width),
                     message_bytes(plan.row(link.rows[i]).q, width));
      }
      sends.push_back({link.rank, message_bytes(link.q, rows * width)});
    }
    group.exchange(transfer(), std::move(sends), std::move(receives));
  }
}

/// Up the tree: innermost halves first.
void TreeDecode::collect(Stream& compute, const Group& group, const Plan& plan) {
  const HeadShape& shape = kernels_.shape();
  for (auto level = plan.levels.rbegin(); level != plan.levels.rend(); ++level) {
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (const Link& link : level->links) {
      const Bytes message =
          message_bytes(link.partials.o, std::ssize(link.rows) * partial_values(shape));
      if (link.up) {
        sends.push_back({link.rank, message});
      } else {
        receives.push_back({link.rank, message});
      }
    }
    group.exchange(compute, std::move(sends), std::move(receives));
    for (const Link& link : level->links) {
      for (std::int64_t i = 0; !link.up && i < std::ssize(link.rows); ++i) {
        const Partial mine = plan.row(link.rows[i]).partial;
        const Partial other = partial_row(link.partials, i, shape);
        std::vector<Partial> in_order{mine, other};
        if (link.before[i]) std::swap(in_order[0], in_order[1]);
        kernels_.merge(compute, std::move(in_order), mine, 1);
      }
    }
  }
}

void TreeDecode::run(Stream& compute, const Group& group, const DecodeBatch& batch,
                     const KvPages& pages, const float* q, float* out) {
  const Plan plan = lay_out(batch, q, out);
  const bool alone =
      std::ranges::all_of(plan.levels, [](const Level& level) { return level.links.empty(); });
  Event arrived;
  if (!alone) {
    transfer().wait(compute.record());
    send_queries(group, plan);
    arrived = transfer().record();
  }
  const auto attend = [&](bool mastered) {
    std::vector<DecodeRow> rows;
    for (const Plan::Row& row : plan.rows) {
      if (row.mastered == mastered) {
        rows.push_back(local_row(batch, row.row, pages, row.q, row.partial));
      }
    }
    if (!rows.empty()) kernels_.decode(compute, std::move(rows));
  };
  attend(true);
  compute.wait(arrived);
  attend(false);
  collect(compute, group, plan);
}

}  // namespace longspan
