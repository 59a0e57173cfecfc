// The door: for each kind of request one that passes, and what is changed in it to be refused. The
// parts that need a shard are refused once more in tests/shard.
#include "txn/judge.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "quorate/v1/node.pb.h"
#include "txn/footprint.h"
#include "txn/given_name.h"
#include "txn/table_key.h"

namespace quorate {
namespace {

// A slot: what an oracle gives.
constexpr uint64_t kStart = 7 << Timestamp::kSubBits;

using Request = v1::NodeRequest;
using Change = std::function<void(Request*)>;

const std::string kId(16, 'i');
const std::string kLong(limits::kKeyBytesMax + 2, 'k');
const std::string kText(kTextBytesMax + 1, 't');

// Ranges that do not touch.
template <class Spans>
void AddRanges(size_t n, Spans* spans) {
  for (size_t i = 0; i < n; ++i) {
    v1::KeySpan* span = spans->Add();
    span->set_from(fmt::format("r{:06}", 2 * i));
    span->set_to(fmt::format("r{:06}", 2 * i + 1));
  }
}

void Refuses(const Request& good, const std::vector<Change>& changes) {
  EXPECT_TRUE(Check(good).ok()) << Check(good).ToString();
  for (size_t i = 0; i < changes.size(); ++i) {
    Request bad = good;
    changes[i](&bad);
    const Status status = Check(bad);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << "change " << i;
    EXPECT_FALSE(status.message().empty());
  }
}

template <class Message>
void Times(int n, Message* list) {
  for (int i = 0; i < n; ++i) list->Add();
}

TEST(Judge, RefusesWhatThisVersionDoesNotKnow) {
  Request good;
  good.mutable_hello();
  Refuses(good, {[](Request* r) { r->clear_body(); }});
}

TEST(Judge, Merge) {
  Request absorb;
  v1::FrozenShard* frozen = absorb.mutable_merge()->mutable_absorb();
  frozen->mutable_state()->set_frozen_into(7);
  frozen->mutable_state()->mutable_shard()->set_shard_id(9);
  frozen->mutable_state()->mutable_shard()->set_version(3);
  frozen->mutable_state()->mutable_shard()->set_from("m");
  const auto state = [](Request* r) {
    return r->mutable_merge()->mutable_absorb()->mutable_state();
  };
  Refuses(absorb, {
                      [&](Request* r) { state(r)->mutable_shard()->clear_shard_id(); },
                      [&](Request* r) { state(r)->mutable_shard()->clear_version(); },
                      [&](Request* r) { state(r)->mutable_shard()->set_version(kShardVersionMax); },
                      [&](Request* r) { state(r)->mutable_shard()->clear_from(); },
                      [&](Request* r) { state(r)->mutable_shard()->set_to("a"); },
                      [&](Request* r) { state(r)->clear_frozen_into(); },
                      [&](Request* r) { Times(kSettledMergesMax + 1, state(r)->mutable_merges()); },
                      [](Request* r) {
                        r->mutable_merge()->mutable_absorb()->set_pairs(
                            std::string(kAbsorbedBytesMax + 1, 'p'));
                      },
                      [](Request* r) { r->mutable_merge()->clear_ask(); },
                  });
  Request abandon;
  abandon.mutable_merge()->mutable_abandon()->set_shard_id(9);
  abandon.mutable_merge()->mutable_abandon()->set_version(3);
  abandon.mutable_merge()->mutable_abandon()->set_from("m");
  const auto merge = [](Request* r) { return r->mutable_merge()->mutable_abandon(); };
  Refuses(abandon, {
                       [&](Request* r) { merge(r)->clear_shard_id(); },
                       [&](Request* r) { merge(r)->set_version(0); },
                       [&](Request* r) { merge(r)->set_version(~0ull); },
                       [&](Request* r) { merge(r)->set_from(kLong); },
                   });
  Request free;
  free.mutable_merge()->mutable_free()->set_shard_id(9);
  free.mutable_merge()->mutable_free()->set_into_shard_id(7);
  free.mutable_merge()->mutable_free()->mutable_span()->set_from("m");
  Refuses(free, {
                    [](Request* r) { r->mutable_merge()->mutable_free()->clear_into_shard_id(); },
                    [](Request* r) { r->mutable_merge()->mutable_free()->clear_span(); },
                });
  Request confirm;
  confirm.mutable_merge()->mutable_confirm()->set_shard_id(9);
  confirm.mutable_merge()->mutable_confirm()->set_version(3);
  confirm.mutable_merge()->mutable_confirm()->set_from("m");
  Refuses(confirm, {[](Request* r) { r->mutable_merge()->mutable_confirm()->clear_version(); },
                    [](Request* r) { r->mutable_merge()->mutable_confirm()->clear_from(); }});
}

TEST(Judge, Commit) {
  Request good;
  v1::CommitRequest* commit = good.mutable_commit();
  commit->set_txn_id(kId);
  commit->set_start_ts(kStart);
  commit->mutable_priority()->set_txn_id(kId);
  commit->mutable_priority()->set_start_ts(kStart);
  commit->set_anchor_key("b");
  commit->add_writes()->set_key("a");
  commit->add_writes()->set_key("b");
  commit->add_reads()->set_from("c");
  Refuses(good,
          {
              [](Request* r) { r->mutable_commit()->set_txn_id("short"); },
              [](Request* r) { r->mutable_commit()->set_txn_id(std::string(16, '\0')); },
              [](Request* r) { r->mutable_commit()->set_start_ts(0); },
              [](Request* r) { r->mutable_commit()->mutable_priority()->set_start_ts(kStart + 1); },
              [](Request* r) { r->mutable_commit()->mutable_priority()->set_start_ts(0); },
              [](Request* r) { r->mutable_commit()->mutable_priority()->clear_txn_id(); },
              [](Request* r) { r->mutable_commit()->set_anchor_key("c"); },
              [](Request* r) { r->mutable_commit()->clear_writes(); },
              [](Request* r) { r->mutable_commit()->add_writes()->set_key("b"); },
              [](Request* r) { r->mutable_commit()->add_writes()->set_key(kLong); },
              [](Request* r) { r->mutable_commit()->mutable_reads(0)->set_to("b"); },
              [](Request* r) { r->mutable_commit()->mutable_reads(0)->set_from(kLong); },
              [](Request* r) { r->mutable_commit()->set_name("no name"); },
          });
}

TEST(Judge, WhoWritesKeysOfATableNamesIt) {
  std::string row(kTablePrefix), other(kTablePrefix);
  PutTableId(&row, 3);
  PutTableId(&other, 300);
  row += "row";
  other += "row";
  Request good;
  v1::CommitRequest* commit = good.mutable_commit();
  commit->set_txn_id(kId);
  commit->set_start_ts(kStart);
  commit->mutable_priority()->set_txn_id(kId);
  commit->mutable_priority()->set_start_ts(kStart);
  commit->set_anchor_key("b");
  commit->add_writes()->set_key("b");
  commit->add_writes()->set_key(row);
  commit->add_writes()->set_key(other);
  commit->mutable_writes(2)->set_deletion(true);
  for (const uint32_t id : {2u, 3u, 300u}) {
    commit->add_tables()->set_table_id(id);
    commit->mutable_tables()->rbegin()->set_version(1);
  }
  const auto tables = [](Request* r) { return r->mutable_commit()->mutable_tables(); };
  Refuses(good, {
                    [&](Request* r) { tables(r)->Clear(); },
                    [&](Request* r) { tables(r)->DeleteSubrange(1, 1); },
                    [&](Request* r) { tables(r)->RemoveLast(); },
                    [&](Request* r) { tables(r)->SwapElements(0, 1); },
                    [&](Request* r) { *tables(r)->Add() = tables(r)->Get(2); },
                    [&](Request* r) { tables(r)->Mutable(0)->set_table_id(0); },
                    [&](Request* r) { tables(r)->Mutable(0)->set_version(0); },
                    [&](Request* r) {
                      for (uint32_t id = 301; tables(r)->size() <= 1'000; ++id) {
                        tables(r)->Add()->set_table_id(id);
                        tables(r)->rbegin()->set_version(1);
                      }
                    },
                    [](Request* r) {
                      r->mutable_commit()->mutable_writes(2)->set_key(
                          "\xfftbl\xff"
                          "x");
                      r->mutable_commit()->mutable_writes(2)->set_deletion(false);
                    },
                });
  commit->mutable_writes(2)->set_key("\xfftbl\xff of before");
  EXPECT_TRUE(Check(good).ok()) << Check(good).ToString();

  Request part;
  v1::PrepareRequest* prepare = part.mutable_prepare();
  prepare->set_txn_id(kId);
  prepare->set_start_ts(kStart);
  prepare->mutable_priority()->set_txn_id(kId);
  prepare->set_anchor_key("z");
  prepare->add_writes()->set_key(row);
  prepare->set_marker_key(row);
  prepare->set_digest(DigestOf(row, {row}, {}).value());
  prepare->add_tables()->set_table_id(3);
  prepare->mutable_tables(0)->set_version(7);
  Refuses(part, {[](Request* r) { r->mutable_prepare()->clear_tables(); },
                 [](Request* r) { r->mutable_prepare()->mutable_tables(0)->set_table_id(4); }});
}

TEST(Judge, RangesAreBoundedMoreTightlyThanKeys) {
  v1::CommitRequest commit;
  commit.set_txn_id(kId);
  commit.set_start_ts(kStart);
  commit.mutable_priority()->set_txn_id(kId);
  commit.mutable_priority()->set_start_ts(kStart);
  commit.set_anchor_key("b");
  commit.add_writes()->set_key("b");
  AddRanges(limits::kTxnRangesMax, commit.mutable_reads());
  for (size_t i = 0; i < 2 * limits::kTxnRangesMax; ++i) {
    const Span key = Span::OfKey(fmt::format("k{}", i));
    v1::KeySpan* read = commit.add_reads();
    read->set_from(key.from);
    read->set_to(key.to);
  }
  EXPECT_TRUE(Check(commit).ok()) << Check(commit).ToString();
  commit.add_reads()->set_from("z");
  EXPECT_EQ(Check(commit).code(), Code::kInvalidArgument);
  EXPECT_NE(Check(commit).message().find("the limit is 1024"), std::string::npos);

  v1::PrepareRequest prepare;
  prepare.set_txn_id(kId);
  prepare.set_start_ts(kStart);
  prepare.mutable_priority()->set_txn_id(kId);
  prepare.set_anchor_key("z");
  prepare.set_marker_key("r000000");
  AddRanges(limits::kTxnRangesMax, prepare.mutable_guards());
  const auto name = [&prepare] {
    std::vector<Span> guards;
    for (const v1::KeySpan& guard : prepare.guards()) guards.push_back({guard.from(), guard.to()});
    prepare.set_digest(DigestOf("r000000", {}, guards).value());
  };
  name();
  EXPECT_TRUE(Check(prepare).ok()) << Check(prepare).ToString();
  prepare.add_guards()->set_from("z");
  name();
  EXPECT_EQ(Check(prepare).code(), Code::kInvalidArgument);
}

TEST(Judge, Prepare) {
  Request good;
  v1::PrepareRequest* prepare = good.mutable_prepare();
  prepare->set_txn_id(kId);
  prepare->set_start_ts(kStart);
  prepare->mutable_priority()->set_txn_id(kId);
  prepare->set_anchor_key("z");
  prepare->add_writes()->set_key("m");
  prepare->add_guards()->set_from("a");
  prepare->mutable_guards(0)->set_to("b");
  prepare->add_guards()->set_from("b");
  prepare->set_marker_key("a");
  prepare->set_digest(DigestOf("a", {"m"}, {{"a", "b"}, {"b", ""}}).value());
  Refuses(good, {
                    [](Request* r) { r->mutable_prepare()->set_digest(1); },
                    [](Request* r) { r->mutable_prepare()->set_marker_key("m"); },
                    [](Request* r) { r->mutable_prepare()->set_marker_key(kLong); },
                    [](Request* r) { r->mutable_prepare()->set_anchor_key(""); },
                    [](Request* r) { r->mutable_prepare()->set_start_ts(0); },
                    [](Request* r) { r->mutable_prepare()->mutable_priority()->set_txn_id("x"); },
                    [](Request* r) { r->mutable_prepare()->mutable_guards(0)->set_to("c"); },
                    [](Request* r) { r->mutable_prepare()->mutable_guards()->SwapElements(0, 1); },
                    [](Request* r) { r->mutable_prepare()->mutable_writes(0)->set_key("n"); },
                    [](Request* r) { r->mutable_prepare()->set_name("no name"); },
                });
}

TEST(Judge, ReadAndLock) {
  Request read;
  read.mutable_read()->add_keys("k");
  read.mutable_read()->add_scans()->mutable_span()->set_to("z");
  Refuses(read, {
                    [](Request* r) { r->mutable_read()->add_keys(""); },
                    [](Request* r) { r->mutable_read()->add_keys(kLong); },
                    [](Request* r) { r->mutable_read()->set_txn_id("x"); },
                    [](Request* r) {
                      r->mutable_read()->mutable_scans(0)->mutable_span()->set_from("zz");
                    },
                    [](Request* r) { Times(10'000, r->mutable_read()->mutable_scans()); },
                });
  Request lock;
  lock.mutable_lock()->set_txn_id(kId);
  lock.mutable_lock()->mutable_priority()->set_txn_id(kId);
  lock.mutable_lock()->add_keys("k");
  Refuses(lock, {
                    [](Request* r) { r->mutable_lock()->clear_txn_id(); },
                    [](Request* r) { r->mutable_lock()->clear_priority(); },
                    [](Request* r) { r->mutable_lock()->add_keys(kLong); },
                    [](Request* r) {
                      for (size_t i = 0; i < kAdvisoryKeysMax; ++i)
                        r->mutable_lock()->add_keys("k");
                    },
                });
}

TEST(Judge, OutcomesAndQuestionsAboutThem) {
  Request good;
  v1::Resolution* resolution = good.mutable_resolve()->add_resolutions();
  resolution->set_txn_id(kId);
  resolution->set_digest(1);
  resolution->set_start_ts(kStart);
  resolution->set_outcome(v1::COMMITTED);
  resolution->set_commit_ts(kStart + 1);
  const auto first = [](Request* r) { return r->mutable_resolve()->mutable_resolutions(0); };
  Refuses(good, {
                    [&](Request* r) { first(r)->set_txn_id(""); },
                    [&](Request* r) { first(r)->set_digest(0); },
                    [&](Request* r) { first(r)->set_start_ts(0); },
                    [&](Request* r) { first(r)->set_marker_key(kLong); },
                    [&](Request* r) { first(r)->set_commit_ts(kStart); },
                    [&](Request* r) { first(r)->set_outcome(v1::STAGED); },
                    [&](Request* r) {
                      for (size_t i = 0; i < kResolutionsMax; ++i) {
                        *r->mutable_resolve()->add_resolutions() = r->resolve().resolutions(0);
                      }
                    },
                    [&](Request* r) {
                      r->mutable_early_outcome()->add_resolutions();  // in place of the other body
                    },
                });
  Request query;
  query.mutable_query_prepare()->set_txn_id(kId);
  query.mutable_query_prepare()->set_digest(1);
  query.mutable_query_prepare()->set_start_ts(kStart);
  Refuses(query, {
                     [](Request* r) { r->mutable_query_prepare()->set_txn_id("x"); },
                     [](Request* r) { r->mutable_query_prepare()->set_digest(0); },
                     [](Request* r) { r->mutable_query_prepare()->set_start_ts(0); },
                     [](Request* r) { r->mutable_query_prepare()->set_marker_key(kLong); },
                 });
  Request push;
  push.mutable_push()->mutable_txn()->set_txn_id(kId);
  push.mutable_push()->mutable_txn()->set_anchor_key("k");
  push.mutable_push()->mutable_txn()->set_start_ts(kStart);
  Refuses(push, {
                    [](Request* r) { r->mutable_push()->clear_txn(); },
                    [](Request* r) { r->mutable_push()->mutable_txn()->set_start_ts(0); },
                    [](Request* r) { r->mutable_push()->mutable_txn()->set_anchor_key(kLong); },
                    [](Request* r) { r->mutable_push()->set_name("no name"); },
                });
}

v1::NodeInfo SomeNode() {
  v1::NodeInfo node;
  node.set_address("n1:7400");
  node.set_storage_id(std::string(32, 'a'));
  return node;
}

TEST(Judge, Rules) {
  Request set;
  v1::PlacementRule& rule = *set.mutable_placement()->mutable_set_rule()->mutable_rule();
  rule.set_from("a");
  rule.set_replicas(3);
  rule.add_leaders()->set_name("zone");
  rule.mutable_leaders(0)->set_value("a");
  const auto change = [](std::function<void(v1::PlacementRule*)> how) {
    return [how = std::move(how)](Request* r) {
      how(r->mutable_placement()->mutable_set_rule()->mutable_rule());
    };
  };
  Refuses(set, {
                   change([](v1::PlacementRule* r) { r->set_from(kLong); }),
                   change([](v1::PlacementRule* r) { r->set_to(kLong); }),
                   change([](v1::PlacementRule* r) { r->set_to("a"); }),
                   change([](v1::PlacementRule* r) { Times(17, r->mutable_require()); }),
                   change([](v1::PlacementRule* r) { r->add_prefer()->set_name(kText); }),
                   change([](v1::PlacementRule* r) { r->add_prefer()->set_value("a\n"); }),
                   change([](v1::PlacementRule* r) {
                     for (int i = 0; i < 3; ++i) r->add_require()->set_value(kText.substr(1));
                   }),
               });
  Request unset;
  unset.mutable_placement()->mutable_unset_rule();
  Refuses(unset,
          {[](Request* r) { r->mutable_placement()->mutable_unset_rule()->set_from(kLong); }});
}

TEST(Judge, MembersAndMap) {
  Request enrolment;
  *enrolment.mutable_register_node()->mutable_node() = SomeNode();
  Refuses(
      enrolment,
      {
          [](Request* r) { r->mutable_register_node()->mutable_node()->set_address(kText); },
          [](Request* r) { r->mutable_register_node()->mutable_node()->set_version(kText); },
          [](Request* r) { r->mutable_register_node()->set_cluster_id(kText); },
          [](Request* r) {
            r->mutable_register_node()->mutable_node()->set_address("n1:7400\nn2:7400");
          },
          [](Request* r) {
            r->mutable_register_node()->mutable_node()->set_http_address("nowhere");
          },
          [](Request* r) { r->mutable_register_node()->mutable_node()->set_version("1\x1b[2J"); },
          [](Request* r) { r->mutable_register_node()->mutable_node()->set_storage_id("no hex"); },
          [](Request* r) {
            for (char name = 'a'; name < 'a' + 3; ++name) {
              (*r->mutable_register_node()->mutable_node()->mutable_locality())[{name}] =
                  std::string(200, 'x');
            }
          },
          [](Request* r) {
            (*r->mutable_register_node()->mutable_node()->mutable_locality())["zone"] = kText;
          },
      });
  Request heartbeat;
  *heartbeat.mutable_heartbeat()->mutable_node() = SomeNode();
  heartbeat.mutable_heartbeat()->add_led_shards()->mutable_shard()->set_from("k");
  heartbeat.mutable_heartbeat()->add_begun_shards()->set_from("k");
  Refuses(
      heartbeat,
      {
          [](Request* r) { r->mutable_heartbeat()->mutable_begun_shards(0)->set_to(kLong); },
          [](Request* r) {
            Times(limits::kBegunShardsMax, r->mutable_heartbeat()->mutable_begun_shards());
          },
          [](Request* r) { r->mutable_heartbeat()->mutable_node()->set_storage_id(kText); },
          [](Request* r) {
            r->mutable_heartbeat()->mutable_led_shards(0)->mutable_shard()->set_to(kLong);
          },
          [](Request* r) {
            Times(
                kReplicasMax + 1,
                r->mutable_heartbeat()->mutable_led_shards(0)->mutable_shard()->mutable_replicas());
          },
      });
  Request routes;
  routes.mutable_routes();
  Refuses(routes, {[](Request* r) { r->mutable_routes()->set_from(kLong); }});
  Request init;
  init.mutable_init()->add_split_keys("k");
  Refuses(init, {
                    [](Request* r) { r->mutable_init()->add_split_keys(""); },
                    [](Request* r) { r->mutable_init()->set_replication_factor(2); },
                    [](Request* r) { r->mutable_init()->set_replication_factor(6); },
                    [](Request* r) { r->mutable_init()->set_replication_factor(9); },
                    [](Request* r) { r->mutable_init()->add_addresses(kText); },
                });
  Request bootstrap;
  *bootstrap.mutable_bootstrap()->add_nodes() = SomeNode();
  Refuses(bootstrap,
          {
              [](Request* r) { Times(limits::kNodesMax, r->mutable_bootstrap()->mutable_nodes()); },
              [](Request* r) { r->mutable_bootstrap()->add_shards()->set_from(kLong); },
          });
}

}  // namespace
}  // namespace quorate
