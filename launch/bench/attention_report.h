// How the figures of `longspan bench attention` are told: as a table that grows, as JSON, as a
// drawing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/bench/attention_figures.h"
#include "launch/bench/bench_head.h"
#include "launch/bench/share_plot.h"

namespace longspan {

struct AttentionReport {
  BenchHead head;
  HeadShape heads{};
  int page_tokens = 1;
  Precision precision;                 // of products
  std::string isa;                     // of the kernels
  std::optional<MatrixFigure> matrix;  // of one rank alone
  std::vector<AttentionFigure> figures;
  MachineRates rates;  // what the predictions were made with
};

/// What stands above the rows.
std::string table_head(const AttentionReport& report);
/// The rows of one chunk.
std::string table_rows(const AttentionFigure& figure, const AttentionReport& report);
/// What stands below the rows: nothing if no chunk had a choice.
std::string table_foot(const AttentionReport& report);
/// One object, without a line's end.
std::string json_text(const AttentionReport& report);
/// A line for each layout and strategy.
SharePlot share_plot(const AttentionReport& report);

}  // namespace longspan
