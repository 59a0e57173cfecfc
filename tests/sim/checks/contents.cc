#include "tests/sim/checks/contents.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace quorate::sim {
namespace {

using State = AttemptSeen::State;

constexpr size_t kOfAKind = 3;
// A new oracle begins above the ceiling of the one before, which is seconds ahead, and a node hears
// of that with its next slot.
constexpr Duration kAgeSlack = 5s;

struct Version {
  Timestamp ts;
  Value value;
  const AttemptSeen* writer = nullptr;  // null: the key was never written
};

// A commit whose timestamp nobody was told.
struct Maybe {
  const AttemptSeen* writer = nullptr;
  Timestamp above;  // it committed above this, if at all
  Timestamp seen;   // and at or below this, since a read at it saw it; zero: not seen
};

struct KeyHistory {
  std::vector<Version> versions;  // ascending
  std::vector<Maybe*> maybes;
};

class Judge {
 public:
  explicit Judge(const Record& record) : record_(record) {}

  std::vector<std::string> Go() {
    CollectWrites();
    JudgeRealTime();
    LearnFromReads();
    for (const AttemptSeen& attempt : record_.attempts()) {
      if (!attempt.start_ts) continue;
      for (const ReadSeen& read : attempt.reads) JudgeRead(attempt, read);
      if (attempt.state == State::kCommitted && attempt.commit_ts) JudgeCommit(attempt);
    }
    JudgeSingles();
    return std::move(found_);
  }

 private:
  void Find(const std::string& kind, const std::string& text) {
    const size_t n = ++kinds_[kind];
    if (n <= kOfAKind) found_.push_back(kind + ": " + text);
  }

  // ---- the model -------------------------------------------------------------------------------

  static bool Told(const AttemptSeen& a) { return a.state == State::kCommitted && a.commit_ts; }
  static bool MayBeThere(const AttemptSeen& a) {
    return a.state == State::kCommitting || (a.state == State::kCommitted && !a.commit_ts);
  }

  void CollectWrites() {
    for (const AttemptSeen& attempt : record_.attempts()) {
      if (attempt.writes.empty()) continue;
      Maybe* maybe = nullptr;
      if (Told(attempt)) {
        acknowledged_.push_back(&attempt);
      } else if (MayBeThere(attempt)) {
        maybe = &maybes_.emplace_back(Maybe{&attempt, attempt.start_ts, {}});
      } else {
        continue;
      }
      for (const auto& [key, value] : attempt.writes) {
        if (maybe != nullptr) {
          keys_[key].maybes.push_back(maybe);
        } else {
          keys_[key].versions.push_back({attempt.commit_ts, value, &attempt});
        }
      }
    }
    for (auto& [key, history] : keys_) {
      auto& versions = history.versions;
      std::stable_sort(versions.begin(), versions.end(),
                       [](const Version& a, const Version& b) { return a.ts < b.ts; });
      for (size_t i = 1; i < versions.size(); ++i) {
        if (versions[i].ts != versions[i - 1].ts) continue;
        Find("S1",
             fmt::format("two commits wrote {} at {}: {}, and {}", Printable(key), versions[i].ts,
                         Describe(*versions[i - 1].writer), Describe(*versions[i].writer)));
      }
    }
  }

  Version NewestAt(const KeyHistory& history, Timestamp at) const {
    const auto after =
        std::upper_bound(history.versions.begin(), history.versions.end(), at,
                         [](Timestamp ts, const Version& version) { return ts < version.ts; });
    return after == history.versions.begin() ? Version{} : *std::prev(after);
  }

  // Whether `maybe` is certainly visible to a read at `at` by somebody who began then.
  static bool CertainlyAt(const Maybe& maybe, Timestamp at, int64_t began) {
    if (maybe.seen && maybe.seen <= at) return true;
    const AttemptSeen& writer = *maybe.writer;
    return writer.state == State::kCommitted && writer.settled != 0 && writer.settled < began;
  }

  // ---- T1 --------------------------------------------------------------------------------------

  void JudgeRealTime() {
    std::vector<const AttemptSeen*> by_settled = acknowledged_;
    std::stable_sort(by_settled.begin(), by_settled.end(),
                     [](auto* a, auto* b) { return a->settled < b->settled; });
    std::vector<const AttemptSeen*> by_began;
    for (const AttemptSeen& attempt : record_.attempts()) by_began.push_back(&attempt);
    std::stable_sort(by_began.begin(), by_began.end(),
                     [](auto* a, auto* b) { return a->began < b->began; });
    const AttemptSeen* highest = nullptr;
    size_t next = 0;
    for (const AttemptSeen* attempt : by_began) {
      for (; next < by_settled.size() && by_settled[next]->settled < attempt->began; ++next) {
        if (highest == nullptr || by_settled[next]->commit_ts > highest->commit_ts) {
          highest = by_settled[next];
        }
      }
      if (highest == nullptr) continue;
      if (attempt->stale.wanted()) {
        JudgeAge(*attempt, *highest);
      } else {
        JudgeAfter(*attempt, attempt->start_ts, "reads", *highest);
      }
      if (Told(*attempt)) JudgeAfter(*attempt, attempt->commit_ts, "committed", *highest);
    }
  }
  // By the oracle's time, which was that of `earlier` when it was answered, or later.
  void JudgeAge(const AttemptSeen& reader, const AttemptSeen& earlier) {
    const Timestamp ts = reader.start_ts;
    if (!ts) return;
    if (ts < reader.stale.not_before) {
      Find("stale", fmt::format("{} reads at {}, and was not to before {}", Describe(reader), ts,
                                reader.stale.not_before));
    }
    if (!record_.clocks_true()) return;
    const auto max_age = static_cast<uint64_t>(ToMillis(reader.stale.max_age + kAgeSlack));
    if (ts.physical_ms() + max_age >= earlier.commit_ts.physical_ms()) return;
    Find("stale", fmt::format("{} reads at {}, which is older than {} ms: it began after {} had "
                              "been answered at {}",
                              Describe(reader), ts, ToMillis(reader.stale.max_age),
                              Describe(earlier), earlier.commit_ts));
  }
  void JudgeAfter(const AttemptSeen& later, Timestamp ts, std::string_view does,
                  const AttemptSeen& earlier) {
    if (!ts || ts > earlier.commit_ts) return;
    Find("T1", fmt::format("{} {} at {}, though it began after {} had been answered at {}",
                           Describe(later), does, ts, Describe(earlier), earlier.commit_ts));
  }

  // ---- S2, A2 ----------------------------------------------------------------------------------

  // Reads that only one unanswered commit explains tell that it is there, and by when.
  void LearnFromReads() {
    for (const AttemptSeen& attempt : record_.attempts()) {
      if (!attempt.start_ts) continue;
      for (const ReadSeen& read : attempt.reads) {
        for (const auto& [key, value] : read.rows) {
          if (read.own.contains(key)) continue;
          const auto history = keys_.find(key);
          if (history != keys_.end()) LearnFrom(history->second, key, value, attempt.start_ts);
        }
      }
    }
  }
  static void LearnFrom(const KeyHistory& history, const std::string& key, const Value& value,
                        Timestamp at) {
    if (!value || history.maybes.empty()) return;
    for (const Version& version : history.versions) {
      if (version.value == value) return;
    }
    Maybe* only = nullptr;
    for (Maybe* maybe : history.maybes) {
      if (maybe->writer->writes.at(key) != value) continue;
      if (only != nullptr) return;
      only = maybe;
    }
    if (only != nullptr && (!only->seen || at < only->seen)) only->seen = at;
  }

  void JudgeRead(const AttemptSeen& attempt, const ReadSeen& read) {
    std::map<std::string, Value> rows(read.rows.begin(), read.rows.end());
    if (rows.size() != read.rows.size()) {
      Find("S2", fmt::format("{} got a key twice in one scan", Describe(attempt)));
    }
    // A scan with a limit promises nothing beyond its last row.
    std::string from = read.from, to = read.to;
    if (read.limit != 0 && read.rows.size() >= read.limit) {
      if (read.reverse) {
        from = read.rows.back().first;
      } else {
        to = read.rows.back().first;
        to.push_back('\0');
      }
    }
    // What was read of a key; each is judged once.
    const auto take = [&rows](const std::string& key) {
      const auto row = rows.extract(key);
      return row.empty() ? Value() : row.mapped();
    };
    const auto within = [&](const std::string& key) {
      return key >= from && (to.empty() || key < to);
    };
    // By itself: a reader that did not commit is nobody's writer.
    for (const auto& [key, value] : read.own) {
      if (within(key)) JudgeOwn(attempt, key, take(key), value);
    }
    for (auto it = keys_.lower_bound(from); it != keys_.end() && within(it->first); ++it) {
      if (read.own.contains(it->first)) continue;
      JudgeKey(attempt, it->first, it->second, take(it->first));
    }
    for (const auto& [key, value] : rows) {
      if (value) {
        Find("A2", fmt::format("{} read {} = {}, which nobody committed", Describe(attempt),
                               Printable(key), Describe(value)));
      }
    }
  }

  void JudgeOwn(const AttemptSeen& attempt, const std::string& key, const Value& value,
                const Value& own) {
    if (own == value) return;
    Find("internal", fmt::format("{} read {} = {}, but had itself made it {}", Describe(attempt),
                                 Printable(key), Describe(value), Describe(own)));
  }

  void JudgeKey(const AttemptSeen& attempt, const std::string& key, const KeyHistory& history,
                const Value& value) {
    const Timestamp at = attempt.start_ts;
    const Version newest = NewestAt(history, at);
    bool newest_allowed = true;
    for (const Maybe* maybe : history.maybes) {
      if (maybe->writer == &attempt) continue;
      const bool below = maybe->seen && maybe->seen < newest.ts;
      if (!below && maybe->above < at && maybe->writer->writes.at(key) == value) return;
      // Who reads the past may miss what was answered before it began.
      const int64_t began = attempt.stale.wanted() ? 0 : attempt.began;
      if (maybe->above >= newest.ts && CertainlyAt(*maybe, at, began)) {
        newest_allowed = false;
      }
    }
    if (newest_allowed && newest.value == value) return;
    Find("S2", fmt::format("{} read {} = {} at {}, but it was {} then ({})", Describe(attempt),
                           Printable(key), Describe(value), at, Describe(newest.value),
                           newest.writer != nullptr
                               ? fmt::format("by {} at {}", Describe(*newest.writer), newest.ts)
                               : "nobody had written it"));
  }

  // ---- S1 --------------------------------------------------------------------------------------

  void JudgeCommit(const AttemptSeen& attempt) {
    if (attempt.commit_ts <= attempt.start_ts) {
      Find("S1", fmt::format("{} read at {} and committed at {}", Describe(attempt),
                             attempt.start_ts, attempt.commit_ts));
    }
    for (const ReadSeen& read : attempt.reads) {
      for (auto it = keys_.lower_bound(read.from);
           it != keys_.end() && (read.to.empty() || it->first < read.to); ++it) {
        if (read.limit != 0 && read.rows.size() >= read.limit) {
          const std::string& last = read.rows.back().first;
          if (read.reverse ? it->first < last : it->first > last) continue;
        }
        // What it had written itself it did not read from the database.
        if (!read.own.contains(it->first)) JudgeUnchanged(attempt, it->first, it->second);
      }
    }
  }
  void JudgeUnchanged(const AttemptSeen& attempt, const std::string& key,
                      const KeyHistory& history) {
    const Version newest = NewestAt(history, attempt.commit_ts);
    const Version before =
        newest.writer == &attempt
            ? NewestAt(history, Timestamp(std::max<uint64_t>(attempt.commit_ts.bits(), 1) - 1))
            : newest;
    if (before.writer != nullptr && before.writer != &attempt && before.ts > attempt.start_ts) {
      Find("S1", fmt::format("{} read {} at {} and committed at {}, but {} wrote it between, at {}",
                             Describe(attempt), Printable(key), attempt.start_ts, attempt.commit_ts,
                             Describe(*before.writer), before.ts));
    }
    for (const Maybe* maybe : history.maybes) {
      if (maybe->above >= attempt.start_ts && maybe->seen && maybe->seen <= attempt.commit_ts) {
        Find("S1", fmt::format("{} read {} at {} and committed at {}, but {} wrote it between",
                               Describe(attempt), Printable(key), attempt.start_ts,
                               attempt.commit_ts, Describe(*maybe->writer)));
      }
    }
  }

  // ---- reads without a timestamp
  // -----------------------------------------------------------------

  // Commits have an order, so a register is linearizable if each read can be given a version such
  // that no read goes back behind what was known when it began, and none is from its future. The
  // earliest version possible is the best choice for the reads that follow.
  void JudgeSingles() {
    std::map<std::string, std::vector<const SingleRead*>> by_key;
    for (const SingleRead& read : record_.singles()) by_key[read.key].push_back(&read);
    for (auto& [key, reads] : by_key) {
      std::stable_sort(reads.begin(), reads.end(),
                       [](auto* a, auto* b) { return a->ended < b->ended; });
      std::vector<std::pair<int64_t, Timestamp>> known;  // a read that ended then saw at least this
      for (const SingleRead* read : reads) JudgeSingle(*read, keys_[key], &known);
    }
  }
  void JudgeSingle(const SingleRead& read, const KeyHistory& history,
                   std::vector<std::pair<int64_t, Timestamp>>* known) {
    Timestamp floor;
    for (const auto& [ended, ts] : *known) {
      if (ended < read.began) floor = std::max(floor, ts);
    }
    for (const Version& version : history.versions) {
      if (version.writer->settled < read.began) floor = std::max(floor, version.ts);
    }
    if (!floor && !read.value) return;
    // One whose outcome nobody knows may have been seen at any time since: nothing more is known.
    for (const Maybe* maybe : history.maybes) {
      const bool possible = maybe->writer->began < read.ended;
      if (possible && maybe->writer->writes.at(read.key) == read.value) return;
    }
    for (const Version& version : history.versions) {
      if (version.ts < floor || version.value != read.value) continue;
      if (version.writer->began > read.ended) continue;
      known->emplace_back(read.ended, version.ts);
      return;
    }
    Find("linearizability",
         fmt::format("{} read {} = {} on its own, between {:.6f} and {:.6f} s; what was known "
                     "before is newer, or nobody had written it",
                     read.who, Printable(read.key), Describe(read.value),
                     static_cast<double>(read.began) / 1e9 - 3600,
                     static_cast<double>(read.ended) / 1e9 - 3600));
  }

  const Record& record_;
  std::map<std::string, KeyHistory> keys_;
  std::deque<Maybe> maybes_;
  std::vector<const AttemptSeen*> acknowledged_;
  std::map<std::string, size_t> kinds_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> JudgeContents(const Record& record) {
  std::vector<std::string> found = Judge(record).Go();
  found.insert(found.end(), record.violations().begin(), record.violations().end());
  return found;
}

}  // namespace quorate::sim
