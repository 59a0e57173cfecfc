// Histories with the verdict that they deserve, in known/: each begins with a comment that says
// what happened, the workload, the model, and the anomalies that must be found, no more and no
// fewer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "tests/history/check.h"
#include "tests/history/jepsen.h"

namespace quorate::history {
namespace {

struct Known {
  std::string file;
  std::string text;
  Workload workload;
  Options options;
  std::set<std::string> verdict;  // names; empty: valid
};

std::string Field(const std::string& text, const std::string& name) {
  const std::string intro = "; " + name + ": ";
  const size_t at = text.find(intro);
  if (at == std::string::npos) return "";
  return text.substr(at + intro.size(), text.find('\n', at) - at - intro.size());
}

std::vector<Known> LoadAll() {
  std::vector<Known> all;
  for (const auto& entry : std::filesystem::directory_iterator(SCENARIO_DIR)) {
    std::ifstream in(entry.path());
    Known known{entry.path().stem().string(),
                {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()},
                WorkloadNamed(Field(known.text, "workload")).value(),
                {ModelNamed(Field(known.text, "model")).value(), std::nullopt},
                {}};
    if (const auto total = Field(known.text, "total"); !total.empty()) {
      known.options.bank_total = std::stoll(total);
    }
    std::istringstream names(Field(known.text, "verdict"));
    for (std::string name; names >> name;) {
      if (name != "valid") known.verdict.insert(name);
    }
    all.push_back(std::move(known));
  }
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.file < b.file; });
  return all;
}

std::set<std::string> Judge(const Known& known, const std::string& text) {
  const auto parsed = ParseJepsen(known.workload, text);
  if (const auto* error = std::get_if<edn::Error>(&parsed)) return {error->message};
  std::set<std::string> names;
  for (const Anomaly& anomaly :
       Check(known.workload, std::get<std::vector<Transaction>>(parsed), known.options).anomalies) {
    EXPECT_FALSE(anomaly.explanation.empty());
    names.insert(anomaly.name);
  }
  return names;
}

TEST(KnownHistories, GetTheVerdictTheyDeserve) {
  for (const Known& known : LoadAll()) {
    EXPECT_NE(Field(known.text, "verdict"), "") << known.file;
    EXPECT_EQ(Judge(known, known.text), known.verdict) << known.file;
  }
}

TEST(KnownHistories, GetTheSameVerdictOnceWrittenAndReadAgain) {
  for (const Known& known : LoadAll()) {
    const auto parsed = ParseJepsen(known.workload, known.text);
    const std::string printed =
        PrintJepsen(known.workload, std::get<std::vector<Transaction>>(parsed));
    EXPECT_EQ(Judge(known, printed), known.verdict) << known.file << "\n" << printed;
  }
}

TEST(KnownHistories, AreJudgedMoreStrictlyByStricterModels) {
  // What a model forbids, no stricter one allows.
  for (const Known& known : LoadAll()) {
    Known stricter = known;
    stricter.options.model = StrictSerializable();
    if (!known.verdict.empty()) {
      EXPECT_FALSE(Judge(stricter, known.text).empty()) << known.file;
    }
  }
}

TEST(KnownHistories, ShowEachAnomalyAndManyGoodOnes) {
  std::set<std::string> shown;
  size_t good = 0;
  for (const Known& known : LoadAll()) {
    shown.insert(known.verdict.begin(), known.verdict.end());
    good += known.verdict.empty();
  }
  std::set<std::string> all = {"garbage-read",
                               "duplicate-elements",
                               "incompatible-order",
                               "cyclic-versions",
                               "wrong-total",
                               "negative-balance",
                               "missing-account",
                               "lost-element",
                               "phantom-element",
                               "lost-increment",
                               "phantom-increment",
                               "G1a",
                               "G1b",
                               "dirty-update",
                               "internal",
                               "lost-update",
                               "long-fork",
                               "stale-read",
                               "non-monotonic-read",
                               "future-read",
                               "causal-reverse",
                               "ambiguous-write"};
  for (const std::string cycle : {"G0", "G1c", "G-single", "G-nonadjacent", "G2-item"}) {
    for (const std::string suffix : {"", "-process", "-realtime"}) all.insert(cycle + suffix);
  }
  EXPECT_EQ(shown, all);
  EXPECT_GE(good, 8u);
}

}  // namespace
}  // namespace quorate::history
