#include "launch/bench/attention_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "comm/str.h"
#include "runtime/engine/rates_json.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

/// GFLOP of one run, over all ranks.
double giga_flop(const AttentionFigure& figure, const HeadShape& heads) {
  return 4e-9 * heads.query_heads * heads.head_dim * visible_pairs(figure.size);
}

std::string heads_text(const HeadShape& heads) {
  return str("{}/{} x {}", heads.query_heads, heads.kv_heads, heads.head_dim);
}

json timing_json(const Timing& timing) {
  return {{"seconds", timing.seconds}, {"spread", timing.spread}, {"runs", timing.runs}};
}

json strategy_json(const StrategyFigure& one, const AttentionFigure& figure,
                   const AttentionReport& report) {
  json row = {{"strategy", describe(one.plan, figure.degree)},
              {"seconds", one.time.seconds},
              {"spread", one.time.spread},
              {"runs", one.time.runs},
              {"share_of_ideal", figure.share_of_ideal(one)},
              {"predicted_s", one.predicted_seconds},
              {"modelled_s", one.modelled_seconds}};
  if (report.matrix) {
    const double rate = 1e9 * giga_flop(figure, report.heads) / one.time.seconds;
    row["flop_per_s"] = rate;
    row["ratio_to_matrix"] = rate / report.matrix->flop_per_second();
  }
  return row;
}

json rematch_json(const AttentionFigure& figure) {
  if (!figure.rematch) return nullptr;
  return {{"chosen", timing_json(figure.rematch->chosen)},
          {"fastest", timing_json(figure.rematch->fastest)}};
}

json figure_json(const AttentionFigure& figure, const AttentionReport& report) {
  json strategies = json::array();
  for (const StrategyFigure& one : figure.strategies) {
    strategies.push_back(strategy_json(one, figure, report));
  }
  return {{"tokens", figure.size.tokens},
          {"cached", figure.size.cached},
          {"layout", name(figure.layout)},
          {"rows_by_rank", figure.shape.rows},
          {"cached_by_rank", figure.shape.cached},
          {"ideal", timing_json(figure.ideal)},
          {"strategies", strategies},
          {"chosen", describe(figure.chosen, figure.degree)},
          {"reason", figure.reason},
          {"chosen_seconds", figure.of_chosen().time.seconds},
          {"fastest", describe(figure.fastest().plan, figure.degree)},
          {"fastest_seconds", figure.fastest().time.seconds},
          {"rematch", rematch_json(figure)},
          {"regret", figure.regret()}};
}

std::string regret_row(const AttentionFigure& figure) {
  const std::string chosen = describe(figure.chosen, figure.degree);
  if (!figure.rematch) return str("{:>17} {} chosen, and fastest\n", "", chosen);
  return str("{:>17} {} chosen, {} fastest; again in turn {:.3f} and {:.3f} ms: regret {:.1f} %\n",
             "", chosen, describe(figure.fastest().plan, figure.degree),
             1e3 * figure.rematch->chosen.seconds, 1e3 * figure.rematch->fastest.seconds,
             100 * figure.regret());
}

bool had_a_choice(const AttentionReport& report) {
  return std::ranges::any_of(
      report.figures, [](const AttentionFigure& figure) { return figure.strategies.size() > 1; });
}

}  // namespace

std::string table_head(const AttentionReport& report) {
  std::string text =
      str("{}\nattention of one layer, {}, {}, {}, pages of {}; random data; slowest rank, median "
          "over {:g} s after a warm-up\nideal: an even share of the work on each rank, all keys in "
          "place, no messages; * what the cost model chooses\n",
          describe(report.head), heads_text(report.heads), name(report.precision), report.isa,
          report.page_tokens, report.head.seconds);
  if (report.matrix) {
    text += str("product: a square matrix product with the same threads, {:.1f} GFLOP/s\n",
                1e-9 * report.matrix->flop_per_second());
  }
  text += str("{:>8} {:>8} {:13} {:18} {:>10} {:>10} {:>6} {:>8} {:>12}", "tokens", "cached",
              "layout", "strategy", "figure", "ideal", "share", "spread", "predicted");
  if (report.matrix) text += str(" {:>9} {:>6}", "GFLOP/s", "ratio");
  return text + "\n";
}

std::string table_rows(const AttentionFigure& figure, const AttentionReport& report) {
  std::string text;
  for (const StrategyFigure& one : figure.strategies) {
    const std::string strategy =
        describe(one.plan, figure.degree) + (one.plan == figure.chosen ? " *" : "");
    text += str("{:>8} {:>8} {:13} {:18} {:>7.3f} ms {:>7.3f} ms {:>6.2f} {:>6.1f} % {:>9.3f} ms",
                figure.size.tokens, figure.size.cached, name(figure.layout), strategy,
                1e3 * one.time.seconds, 1e3 * figure.ideal.seconds, figure.share_of_ideal(one),
                100 * one.time.spread, 1e3 * one.predicted_seconds);
    if (report.matrix) {
      const double rate = giga_flop(figure, report.heads) / one.time.seconds;
      text += str(" {:>9.1f} {:>6.2f}", rate, 1e9 * rate / report.matrix->flop_per_second());
    }
    text += '\n';
  }
  if (figure.strategies.size() > 1) text += regret_row(figure);
  return text;
}

std::string table_foot(const AttentionReport& report) {
  if (!had_a_choice(report)) return "";
  const Regret regret = regret_of(report.figures);
  return str("regret of the choice over {} chunks: {:.1f} % at worst, {:.1f} % on average\n",
             report.figures.size(), 100 * regret.worst, 100 * regret.mean);
}

std::string json_text(const AttentionReport& report) {
  json object = json_of(report.head);
  object["heads"] = {{"query", report.heads.query_heads},
                     {"kv", report.heads.kv_heads},
                     {"size", report.heads.head_dim}};
  object["page_tokens"] = report.page_tokens;
  object["dtype"] = name(report.precision);
  object["isa"] = report.isa;
  object["matrix_flop_per_s"] =
      report.matrix ? json(report.matrix->flop_per_second()) : json(nullptr);
  object["chunks"] = json::array();
  for (const AttentionFigure& figure : report.figures) {
    object["chunks"].push_back(figure_json(figure, report));
  }
  object["rates"] = json_of(report.rates);
  const Regret regret = regret_of(report.figures);
  object["regret"] = {{"worst", regret.worst}, {"mean", regret.mean}};
  return object.dump();
}

SharePlot share_plot(const AttentionReport& report) {
  SharePlot plot{.title = "Attention: share of the ideal",
                 .note = str("{} | {} | {} rank{}", heads_text(report.heads), report.head.device,
                             report.head.degree, report.head.degree == 1 ? "" : "s"),
                 .size_label = "tokens per rank",
                 .share_label = "share of ideal",
                 .lines = {}};
  if (!report.head.throttle_link.empty()) {
    plot.note += str(" | links {}", report.head.throttle_link);
  }
  for (const AttentionFigure& figure : report.figures) {
    for (const StrategyFigure& one : figure.strategies) {
      const std::string line =
          str("{}, {}", name(figure.layout), describe(one.plan, figure.degree));
      auto at = std::ranges::find(plot.lines, line, &PlotLine::name);
      if (at == plot.lines.end()) at = plot.lines.insert(at, {line, {}});
      at->points.push_back(
          {static_cast<double>(figure.size.tokens) / figure.degree, figure.share_of_ideal(one)});
    }
  }
  return plot;
}

}  // namespace longspan
