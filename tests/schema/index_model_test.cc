// The states of an index, tried out: writers under two adjacent states at a time, a backfill in the
// middle, against the entries that the rows have. One transaction after the other, as the store
// makes it look; versions are counted, as its timestamps are.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>

#include "base/bytes.h"
#include "base/random.h"
#include "schema/keys.h"
#include "schema/row_codec.h"
#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

constexpr int kRows = 8;

std::string Text(bool unique) {
  return Proto3(fmt::format(R"(
    message Row {{
      option (quorate.table) = {{
        name: "rows" primary_key: "id" index {{ name: "i" fields: "{0}" unique: {1}
            storing: "c" }} }};
      int32 id = 1; optional int32 v = 2; repeated int32 vs = 3; int32 c = 4;
    }})",
                            unique ? "v" : "vs", unique));
}

class World {
 public:
  World(bool unique, uint64_t seed)
      : unique_(unique), random_(seed), table_(TableOf(Text(unique))), rows_(table_) {
    for (int state = v1::INDEX_ABSENT; state <= v1::INDEX_RETIRED; ++state) {
      table_.mutable_indexes(0)->set_state(static_cast<v1::IndexState>(state));
      codecs_.push_back(CodecOf(table_));
    }
    id_ = table_.indexes(0).index_id();
  }

  // Writers of both states at random.
  void Write(v1::IndexState one, v1::IndexState other, int transactions) {
    for (int i = 0; i < transactions; ++i) Transaction(codecs_[random_.Chance(0.5) ? one : other]);
  }

  // All rows as of now, entered later, while writers go on. False: two rows claim one entry.
  bool Backfill() {
    const RowCodec& codec = codecs_[v1::INDEX_BACKFILL];
    const uint64_t snapshot = now_;
    const auto rows = stored_;
    for (const auto& [key, row] : rows) {
      Write(v1::INDEX_BACKFILL, v1::INDEX_WRITE_ONLY, static_cast<int>(random_.Below(3)));
      const auto entries = codec.EntriesOf(id_, row);
      EXPECT_TRUE(entries.ok());
      for (const Entry& entry : *entries) {
        if (!Enter(codec, key, entry, snapshot)) return false;
      }
    }
    return true;
  }

  // What the rows have, against what the index has.
  void Check(const RowCodec& codec, const char* when) {
    std::map<std::string, std::string> expected, found;
    for (const auto& [key, row] : stored_) {
      const auto entries = codec.EntriesOf(id_, row);
      ASSERT_TRUE(entries.ok());
      for (const Entry& entry : *entries) {
        ASSERT_TRUE(expected.emplace(entry.key, entry.value).second) << "two rows, one entry";
      }
    }
    for (const auto& [key, version] : index_) {
      if (version.value.has_value()) found[key] = *version.value;
    }
    ASSERT_EQ(expected, found) << when;
  }

  // Entries of nobody, which others than backfills could never find.
  void CheckNothingLeftOver(const char* when) {
    for (const auto& [key, version] : index_) {
      if (!version.value.has_value()) continue;
      const auto entry = codecs_[v1::INDEX_PUBLIC].DecodeEntry(id_, key, *version.value);
      ASSERT_TRUE(entry.ok());
      ASSERT_TRUE(stored_.contains(entry->row_key)) << when;
      bool has = false;
      const auto entries = codecs_[v1::INDEX_PUBLIC].EntriesOf(id_, stored_[entry->row_key]);
      for (const Entry& of : *entries) has |= of.key == key && of.value == *version.value;
      ASSERT_TRUE(has) << when;
    }
  }

  const RowCodec& codec(v1::IndexState state) const { return codecs_[state]; }

 private:
  struct Version {
    uint64_t at = 0;
    std::optional<std::string> value;
  };

  void Transaction(const RowCodec& codec) {
    const auto id = static_cast<int>(random_.Below(kRows));
    std::string text = fmt::format("id: {} c: {}", id, random_.Below(2));
    if (random_.Chance(0.8)) text += fmt::format(" v: {}", random_.Below(kRows));
    for (uint64_t left = random_.Below(3); left > 0; --left)
      text += fmt::format(" vs: {}", random_.Below(4));
    const std::string key = *codec.KeyOf({Value::Int(id)});
    std::optional<std::string_view> before, after;
    if (const auto at = stored_.find(key); at != stored_.end()) before = at->second;
    const std::string bytes = rows_.Bytes(text);
    if (!before.has_value() || random_.Chance(0.7)) after = bytes;
    const auto change = codec.MakeChange(before, after);
    ASSERT_TRUE(change.ok()) << change.violation.ToStatus().message();
    ASSERT_EQ(change->key, key);
    // A unique index is asked first: a violation ends the transaction, and nothing happened.
    std::vector<const EntryChange*> writes;
    for (const EntryChange& entry : change->entries) {
      if (!entry.row.empty() && OfAnother(codec, entry.key, entry.row)) {
        if (entry.kind == EntryChange::Kind::kPut) return;
        continue;
      }
      writes.push_back(&entry);
    }
    ++now_;
    for (const EntryChange* entry : writes) {
      Version& version = index_[entry->key];
      version.at = now_;
      version.value.reset();
      if (entry->kind == EntryChange::Kind::kPut) version.value = entry->value;
    }
    if (change->value.has_value()) {
      stored_[key] = *change->value;
    } else {
      stored_.erase(key);
    }
  }

  bool OfAnother(const RowCodec& codec, const std::string& key, std::string_view row) {
    const auto at = index_.find(key);
    if (at == index_.end() || !at->second.value.has_value()) return false;
    return *codec.EntryRow(*at->second.value) != row;
  }

  bool Claims(const RowCodec& codec, const std::string& row_key, const Entry& entry) {
    const auto row = stored_.find(row_key);
    if (row == stored_.end()) return false;
    const auto has = codec.EntriesOf(id_, row->second);
    return std::ranges::any_of(*has, [&](const Entry& of) { return of.key == entry.key; });
  }

  bool Enter(const RowCodec& codec, const std::string& row_key, const Entry& entry,
             uint64_t snapshot) {
    Version& version = index_[entry.key];
    const auto row = codec.EntryRow(entry.value);
    if (version.value.has_value() && !row->empty() && *codec.EntryRow(*version.value) != *row) {
      return !Claims(codec, row_key, entry);
    }
    if (version.at > snapshot) {
      if (version.value.has_value() || !unique_ || !Claims(codec, row_key, entry)) return true;
      // A unique entry that another row gave up: this row, which nobody wrote since, has it now.
      version = {++now_, codec.EntriesOf(id_, stored_[row_key])->front().value};
      return true;
    }
    version = {++now_, entry.value};
    return true;
  }

  bool unique_;
  Random random_;
  v1::TableDescriptor table_;
  Rows rows_;
  std::vector<RowCodec> codecs_;
  uint32_t id_ = 0;
  uint64_t now_ = 0;
  std::map<std::string, std::string> stored_;
  std::map<std::string, Version> index_;
};

class IndexModel : public testing::TestWithParam<bool> {};

TEST_P(IndexModel, IsWholeWhereItIsPublicAndGoneWhereItIsAbsent) {
  int built = 0, refused = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    World world(GetParam(), seed);
    world.Write(v1::INDEX_ABSENT, v1::INDEX_ABSENT, 20);
    world.Write(v1::INDEX_ABSENT, v1::INDEX_DELETE_ONLY, 20);
    world.Write(v1::INDEX_DELETE_ONLY, v1::INDEX_WRITE_ONLY, 30);
    world.CheckNothingLeftOver("before the backfill");
    world.Write(v1::INDEX_WRITE_ONLY, v1::INDEX_BACKFILL, 5);
    if (!world.Backfill()) {
      ++refused;  // and back: what was put is met by who takes away
      world.Write(v1::INDEX_WRITE_ONLY, v1::INDEX_DELETE_ONLY, 20);
      world.CheckNothingLeftOver("after a backfill that failed");
      continue;
    }
    ++built;
    world.Check(world.codec(v1::INDEX_PUBLIC), "after the backfill");
    world.Write(v1::INDEX_BACKFILL, v1::INDEX_PUBLIC, 30);
    world.Check(world.codec(v1::INDEX_PUBLIC), "while it is public");
    world.Write(v1::INDEX_PUBLIC, v1::INDEX_RETIRED, 30);
    world.Check(world.codec(v1::INDEX_PUBLIC),
                "while it is retired: it can be public again at once");
    world.Write(v1::INDEX_RETIRED, v1::INDEX_DELETE_ONLY, 20);
    world.CheckNothingLeftOver("while it is taken down");
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(built, GetParam() ? 20 : 599);
  if (GetParam()) EXPECT_GT(refused, 20);
}

INSTANTIATE_TEST_SUITE_P(All, IndexModel, testing::Bool(),
                         [](const auto& info) { return info.param ? "Unique" : "Repeated"; });

}  // namespace
}  // namespace quorate::schema
